"""Run folders of before names followed the field's terms: what their fields are called now."""

SOURCE = {"held_out": "val"}
RECIPE = {
    "parts": "accumulation_steps",
    "taken": "init_layers",
    "averaging": "ema_decay",
    "sizes": "progressive_resize",
    "optimizer.first": "optimizer.beta1",
    "optimizer.second": "optimizer.beta2",
    "optimizer.inside": "optimizer.lr_in_velocity",
    "optimizer.all": "optimizer.decay_all",
    "augmentation.mirror": "augmentation.hflip",
    "augmentation.lighting": "augmentation.pca_noise",
}
RESULTS = {
    "waiting": "data_wait",
    "wanting": "cpu_contention",
    "waiting_seconds": "data_wait_seconds",
}
KINDS = {"AreaCrop": "RandomResizedCrop", "PadCrop": "PaddedCrop", "JitterCrop": "ScaleJitterCrop"}


def recipe_of_now(recipe: dict[str, object], path: str = "") -> dict[str, object]:
    """A recipe's plain form with today's names of fields and kinds; one that has them already is unchanged."""
    new: dict[str, object] = {}
    for key, value in recipe.items():
        name = RECIPE.get(f"{path}{key}", f"{path}{key}").removeprefix(path)
        if key == "type":
            value = KINDS.get(str(value), value)
        elif key == "sources" and isinstance(value, dict):  # by the paths of the fields
            value = {RECIPE.get(field, field): text for field, text in value.items()}
        elif isinstance(value, dict):
            value = recipe_of_now(value, f"{path}{key}.")
        new[name] = value
    return new


def source_of_now(source: dict[str, object]) -> dict[str, object]:
    """The same of what a run says of its source."""
    return {SOURCE.get(key, key): value for key, value in source.items()}


def result_of_now(value: object) -> object:
    """The same of records of epochs and of comparisons, and of the states of trainings that hold some."""
    if isinstance(value, dict):
        return {RESULTS.get(key, key): result_of_now(part) for key, part in value.items()}
    return [result_of_now(part) for part in value] if isinstance(value, list) else value
