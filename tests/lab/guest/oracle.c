/*
 * The oracle's loop: what `init` hands over to once its disks are found and judged.
 *
 *     oracle COUNT DISK [DISK]
 *
 * It counts on from COUNT as `init` tells, in one process that forks nothing: a loop of shell
 * commands costs an emulated processor more than the backups that are to be tested on it.
 * Linked statically: the guest has no other library.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SECTOR_BYTES = 512,
    COUNTER_SECTOR = 2048,
    HISTORY_SECTOR = 4096,
    HISTORY_LENGTH = 64,
    ROUND_MILLISECONDS = 1000,
    CHECK_HISTORY_EVERY = 8,
};

struct disk {
    const char *name;
    int descriptor;
};

static char buffer[HISTORY_LENGTH * SECTOR_BYTES] __attribute__((aligned(4096)));

static void say(const char *format, ...)
{
    char line[256];
    va_list values;

    va_start(values, format);
    int length = vsnprintf(line, sizeof line - 1, format, values);
    va_end(values);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length] = '\n';
    if (write(STDOUT_FILENO, line, length + 1) < 0)
        return; /* a console that cannot be written to leaves nobody to tell */
}

static int read_sectors(struct disk *disk, long sector, int number)
{
    size_t bytes = (size_t)number * SECTOR_BYTES;
    ssize_t found = pread(disk->descriptor, buffer, bytes, sector * SECTOR_BYTES);

    if (found == (ssize_t)bytes)
        return 1;
    say("ERROR read %s sector %ld: %s", disk->name, sector, found < 0 ? strerror(errno) : "short");
    return 0;
}

/* The count that a sector holds: digits, then blanks or zero bytes; 0 for an empty one, else -1. */
static long parse_count(const char *sector)
{
    long count = 0;
    int at = 0;

    for (; at < SECTOR_BYTES && sector[at] >= '0' && sector[at] <= '9'; at++) {
        if (at > 17)
            return -1;
        count = count * 10 + (sector[at] - '0');
    }
    for (; at < SECTOR_BYTES; at++)
        if (sector[at] != '\0' && sector[at] != '\n' && sector[at] != ' ')
            return -1;
    return count;
}

static int write_sector(struct disk *disk, long sector, long count)
{
    memset(buffer, 0, SECTOR_BYTES);
    snprintf(buffer, SECTOR_BYTES, "%ld\n", count);
    ssize_t written = pwrite(disk->descriptor, buffer, SECTOR_BYTES, sector * SECTOR_BYTES);
    if (written == SECTOR_BYTES && fsync(disk->descriptor) == 0)
        return 1;
    say("ERROR write %s sector %ld count %ld: %s", disk->name, sector, count,
        written == SECTOR_BYTES || written < 0 ? strerror(errno) : "short");
    return 0;
}

/* History first, so that the counter never names a history that is not there. */
static void record(struct disk *disk, long count)
{
    while (!write_sector(disk, HISTORY_SECTOR + count % HISTORY_LENGTH, count) ||
           !write_sector(disk, COUNTER_SECTOR, count))
        sleep(1);
}

/* Every slot holds the count it must; the next one may be there already. */
static void check_history(struct disk *disk, long count)
{
    if (!read_sectors(disk, HISTORY_SECTOR, HISTORY_LENGTH))
        return;
    for (int slot = 0; slot < HISTORY_LENGTH; slot++) {
        long have = parse_count(buffer + slot * SECTOR_BYTES);
        long want = count - ((count - slot) % HISTORY_LENGTH + HISTORY_LENGTH) % HISTORY_LENGTH;
        if (want < 1)
            want = 0;
        if (have != want && have != count + 1)
            say("CORRUPT %s history slot %d expected %ld actual %ld", disk->name, slot, want, have);
    }
}

static void check_count(struct disk *disk, long count)
{
    if (!read_sectors(disk, COUNTER_SECTOR, 1))
        return;
    long have = parse_count(buffer);
    if (have != count)
        say("CORRUPT %s expected %ld actual %ld", disk->name, count, have);
}

/* One word from the console, if it comes within a round; obeyed by `init` as /obey. */
static void listen_to_console(void)
{
    struct pollfd console = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[128], command[192];

    if (poll(&console, 1, ROUND_MILLISECONDS) <= 0)
        return;
    ssize_t length = read(STDIN_FILENO, line, sizeof line - 1);
    if (length <= 0) {
        sleep(1); /* a console without an end: never spin on it */
        return;
    }
    line[length] = '\0';
    for (char *word = strtok(line, " \r\n"); word; word = strtok(NULL, " \r\n")) {
        for (char *letter = word; *letter; letter++)
            if (*letter < 'a' || *letter > 'z')
                *letter = '?';
        snprintf(command, sizeof command, "/bin/busybox sh /obey '%s'", word);
        if (system(command) < 0)
            say("ERROR cannot obey %s: %s", word, strerror(errno));
    }
}

int main(int argc, char **argv)
{
    struct disk disks[2];
    int number = argc - 2;

    if (number < 1 || number > 2) {
        say("ERROR usage: oracle COUNT DISK [DISK]");
        return 2;
    }
    long count = atol(argv[1]);
    for (int at = 0; at < number; at++) {
        char path[64];
        snprintf(path, sizeof path, "/dev/%s", argv[at + 2]);
        disks[at].name = argv[at + 2];
        disks[at].descriptor = open(path, O_RDWR | O_DIRECT);
        if (disks[at].descriptor < 0) {
            say("ERROR open %s: %s", path, strerror(errno));
            return 1;
        }
    }
    for (;;) {
        listen_to_console();
        for (int at = 0; at < number; at++)
            check_count(&disks[at], count);
        if (count % CHECK_HISTORY_EVERY == 0)
            for (int at = 0; at < number; at++)
                check_history(&disks[at], count);
        for (int at = 0; at < number; at++)
            record(&disks[at], count + 1);
        count++;
        say("tick %ld", count);
    }
}
