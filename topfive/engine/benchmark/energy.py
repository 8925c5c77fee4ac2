"""What a training takes from the socket, of the processor, as far as the machine tells."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")  # Intel's and AMD's counters, which most systems let root alone read


class Energy:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self.before = _counters()

    def joules(self) -> float | None:
        """Since it was made; None where the machine does not tell. Other processes count too."""
        now = _counters()
        both = self.before.keys() & now.keys()
        if not both:
            return None
        return sum((now[name][0] - self.before[name][0]) % now[name][1] for name in both) / 1e6


def _counters() -> dict[str, tuple[int, int]]:
    """By name: microjoules so far, and where that starts again from zero."""
    found = {}
    for zone in POWERCAP.glob("intel-rapl:?"):
        try:
            found[zone.name] = (
                int((zone / "energy_uj").read_text()),
                int((zone / "max_energy_range_uj").read_text()) + 1,
            )
        except (OSError, ValueError):
            continue
    return found
