"""Teeth of files: new ones are new, no link is followed, and what was put there keeps its bytes."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

NEW = "tests/unit/test_new_files.py"
FOLDER = "tests/unit/test_folder.py"
JOURNAL = "tests/unit/test_journal_edges.py"

FILE_TEETH = (
    Tooth(
        name="new-content-in-a-new-file",
        act="a file's new content goes into a file that was not there before",
        file="system/durable.py",
        text="os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        instead="os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        tests=(
            f"{NEW}::test_new_content_is_never_written_to_what_lay_at_the_place_of_its_temporary_file",
        ),
    ),
    Tooth(
        name="lock-through-no-link",
        act="a lock is not opened, and so not emptied, through a link",
        file="system/durable.py",
        text="os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        instead="os.O_RDWR | os.O_CREAT | os.O_CLOEXEC\n",
        tests=("tests/unit/test_durable.py::test_lock_behind_a_link_is_refused",),
    ),
    Tooth(
        name="point-of-new-files",
        act="images of disks and memory go into files that were not there before",
        file="system/folder.py",
        text="os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        instead="os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        tests=(
            f"{NEW}::test_part_of_a_point_is_never_written_to_what_lay_at_its_place",
            f"{FOLDER}::test_new_file_never_replaces_one_that_is_there",
        ),
    ),
    Tooth(
        name="point-through-no-link",
        act="a part of a point, or an image in the spool, is not read through a link",
        file="system/folder.py",
        text="os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC\n",
        instead="os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC\n",
        tests=(f"{FOLDER}::test_links_are_followed_by_nothing",),
    ),
    Tooth(
        name="folder-through-no-link",
        act="a folder of a destination is not entered through a link",
        file="system/folder.py",
        text="os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        instead="os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC\n",
        tests=(f"{FOLDER}::test_links_are_followed_by_nothing",),
    ),
    Tooth(
        name="clone-is-a-new-file",
        act="a reflink copy is made where nothing was before",
        file="system/reflink.py",
        text="os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        instead="os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        tests=(f"{NEW}::test_reflink_copy_is_never_made_over_what_lay_at_its_place",),
    ),
    Tooth(
        name="journal-is-a-new-file",
        act="a journal is never begun over another one",
        file="records/journal.py",
        text="os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW\n",
        instead="os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW\n",
        tests=(f"{JOURNAL}::test_journal_is_never_created_over_another",),
    ),
    Tooth(
        name="journal-through-no-link",
        act="a journal is not continued through a link",
        file="records/journal.py",
        text="os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW\n",
        instead="os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC\n",
        tests=(f"{JOURNAL}::test_journal_behind_a_link_is_refused",),
    ),
    Tooth(
        name="restored-image-is-a-new-file",
        act="an image file that a restore makes is one that was not there before",
        file="operations/restore_disks.py",
        text="fresh = os.O_EXCL | os.O_CREAT if",
        instead="fresh = os.O_CREAT if",
        tests=(f"{NEW}::test_restored_image_is_never_written_to_what_came_to_its_place_meanwhile",),
    ),
    Tooth(
        name="restored-image-through-no-link",
        act="an image file that a restore goes on with is not reached through a link",
        file="operations/restore_disks.py",
        text="os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | fresh\n",
        instead="os.O_RDWR | os.O_CLOEXEC | fresh\n",
        tests=(f"{NEW}::test_restored_image_that_is_gone_on_with_is_not_reached_through_a_link",),
    ),
    Tooth(
        name="rewritten-image-is-a-new-file",
        act="a memory image with other names in it is written over nothing",
        file="dom0/memory_image.py",
        text="os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)\n",
        instead="os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)\n",
        tests=(
            "tests/unit/test_memory_image.py::test_rewriting_refuses_partial_images_unknown_disks_and_existing_targets",
        ),
    ),
    Tooth(
        name="device-claimed",
        act="a device that is mounted, or below another one, is not opened for writing",
        file="system/block_device.py",
        text="            flags |= os.O_EXCL\n",
        instead="            pass\n",
        tests=(
            "tests/unit/test_block_device.py::test_block_device_is_claimed_for_writing_unless_it_is_shared",
        ),
    ),
)
