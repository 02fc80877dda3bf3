"""What tells one file's contents from another's."""

from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.digests import digest_of_files, file_digest


def test_the_border_between_two_files_counts(tmp_path):
    digests = set()
    for number, contents in enumerate([(b"ab", b"c"), (b"a", b"bc"), (b"abc", b"")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = [folder / "a", folder / "b"]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        digests.add(digest_of_files(files))
        assert file_digest(folder) == digest_of_files(files)
    assert len(digests) == 3


def test_a_file_that_is_not_there_is_reported_as_everywhere(tmp_path):
    with raises(InputError, subject="a.bin", problem="does not exist", remedy="check the spelling and the folder"):
        file_digest(tmp_path / "a.bin")
