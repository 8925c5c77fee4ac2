"""The sets that can be fetched by name: their addresses, hashes and classes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

UNPACKED = 1.25  # bytes of tar for each of gzip, at most: binary images give 1.1, JPEGs less


@dataclass(frozen=True)
class Published:
    """A file on the net: where it lies, how many bytes it has, and what hashes were published for it."""

    name: str
    url: str
    bytes: int
    md5: str | None
    sha256: str | None  # or so many of its first digits as were published
    slack: int = field(default=0, kw_only=True)  # bytes more or less, where the size was published rounded
    sha512: str | None = field(default=None, kw_only=True)

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def room(self) -> int:
        """The bytes that it takes on the disk while it is brought there."""
        return self.bytes + self.slack


@dataclass(frozen=True)
class PublicSet(Published):
    """A published archive of images."""

    note: str  # whom to cite, and what the images may be used for
    words: Mapping[str, str] = field(default_factory=dict, repr=False)  # classes in words where the archive has WNIDs

    @property
    def room(self) -> int:
        return round(self.bytes * (1 + UNPACKED))

    @property
    def tar(self) -> str:
        return re.sub(r"\.(tar\.gz|tgz)$", ".tar", self.file)


IMAGENETTE_WORDS = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
IMAGEWOOF_WORDS = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}
CIFAR_NOTE = "cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no licence is stated"
FASTAI_NOTE = (
    "cite J. Howard, github.com/fastai/imagenette, 2019; the images are of ImageNet, for non-commercial research"
)
# source: CIFAR's md5 from https://www.cs.toronto.edu/~kriz/cifar.html; its binary version holds no pickles
# source: Imagenette's md5 from torchvision/datasets/imagenette.py
# source: sizes and sha256 of all these from tensorflow_datasets' checksums (cifar10, cifar100, imagenette)
# source: Imagewoof's size from fast.ai (fastai/data/checks.txt, whose md5 is of the first 2^20 bytes alone); nobody
#   official states a hash of the whole: the md5 is catalyst's (catalyst/contrib/datasets/imagewoof.py), which states
#   torchvision's for Imagenette; the older 5eaf5bbf... is of the archive before noisy_imagewoof.csv was put in (2021)
PUBLIC = {
    public.name: public
    for public in (
        PublicSet(
            "cifar-10",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            CIFAR_NOTE,
        ),
        PublicSet(
            "cifar-100",
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            168_513_733,
            "03b5dce01913d631647c71ecec9e9cb8",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            CIFAR_NOTE,
        ),
        PublicSet(
            "imagenette",
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
            1_557_161_267,
            "fe2fc210e6bb7c5664d602c3cd71e612",
            "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
            FASTAI_NOTE,
            IMAGENETTE_WORDS,
        ),
        PublicSet(
            "imagenette-160",
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            99_003_388,
            "e793b78cc4c9e9a4ccc0c1155377a412",
            "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
            FASTAI_NOTE,
            IMAGENETTE_WORDS,
        ),
        PublicSet(
            "imagewoof",
            "https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2.tgz",
            1_343_715_595,
            "9aafe18bcdb1632c4249a76c458465ba",
            None,
            FASTAI_NOTE,
            IMAGEWOOF_WORDS,
        ),
    )
}
