/*
 * The batch reader without Python, for the sanitizers: good text, every cut of it, and many mutations, each in memory of
 * exactly its size, so that one byte read or written beyond is seen. pread(2) is replaced by a script of answers.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define FIGURES " avg10=1.25 avg60=0.40 avg300=100.00 total="
#define BOTH(some, full) "some" FIGURES some "\nfull" FIGURES full "\n"
#define KEYS "\3low\4high\3max"
#define SECTIONS "\7compact\4swap\7cpu_qos"

static const char key_text[] = KEYS SECTIONS;
enum { SECTIONS_AT = sizeof(KEYS) - 1 };

static const struct sample {
    struct pl_row row;
    const char *text;
} samples[] = {
    {{3, PL_VALUE, 0, 0, 0}, "4096\n"},
    {{3, PL_VALUE, 0, 0, 0}, "max\n"},
    {{3, PL_VALUE, 0, 0, 0}, "9223372036854775807\n"},
    {{3, PL_KEYED, 0, 0, 3}, "low 1\nhigh 2\nmax 9223372036854775807\noom 4\n"},
    {{3, PL_KEYED, 0, 0, 3}, "highest 1\n\nhigh 2\n"},
    {{3, PL_KEYED, 0, 0, 0}, "low 1\n"},
    {{3, PL_PSI, 0, 0, 0}, BOTH("9223372036854775807", "0")},
    {{3, PL_PSI, 0, 0, 0}, "full" FIGURES "7\n"},
    {{3, PL_PRESSURE_STAT, 0, SECTIONS_AT, 3},
     "compact\n" BOTH("1", "2") "swap\n" BOTH("3", "4") "cpu_qos\nfull" FIGURES "5\n"},
    {{3, PL_PRESSURE_STAT, 0, SECTIONS_AT, 3}, "swap\n" BOTH("3", "4")},
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

/* The script: each answer is a number of bytes of `served`, or a negative errno. */
static const char *served;
static const int *answers;
static int asked;

ssize_t scripted_pread(int descriptor, void *buffer, size_t size, off_t offset);

ssize_t scripted_pread(int descriptor, void *buffer, size_t size, off_t offset)
{
    CHECK(descriptor == 3);
    const int answer = answers[asked++];
    if (answer < 0) {
        errno = -answer;
        return -1;
    }
    CHECK((size_t)answer <= size);
    memcpy(buffer, served + offset, (size_t)answer);
    return answer;
}

static uint64_t state = UINT64_C(0x9E3779B97F4A7C15);

/* xorshift64: the same run every time. */
static uint32_t random_below(uint32_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % bound;
}

/* Parse a copy in memory of exactly its size. Gives the status; what was taken is checked against its own mask. */
static int32_t parse(const struct pl_row *row, const char *text, size_t size)
{
    const size_t words = pl_words(row->format, row->count);
    char *const copy = malloc(size);
    int64_t *const values = calloc(words, sizeof(int64_t));
    CHECK(words > 0 && values != NULL && (copy != NULL || size == 0));
    if (size > 0) {
        memcpy(copy, text, size);
    }
    const int32_t status = pl_parse(row, key_text, copy, size, values);
    CHECK(status == PL_OK || status == PL_ODD);
    for (size_t word = 0; word < words && status == PL_OK; word++) {
        CHECK(values[word] >= 0);
    }
    if (status == PL_OK && (row->format == PL_PSI || row->format == PL_PRESSURE_STAT)) {
        CHECK(values[0] != 0);
    }
    free(values);
    free(copy);
    return status;
}

static void good_text(void)
{
    for (size_t each = 0; each < SAMPLES; each++) {
        const struct sample *const sample = &samples[each];
        const size_t size = strlen(sample->text);
        CHECK(pl_row_fits(&sample->row, key_text, sizeof(key_text) - 1, pl_words(sample->row.format, sample->row.count)));
        CHECK(parse(&sample->row, sample->text, size) == PL_OK);
        for (size_t cut = 0; cut < size; cut++) {
            (void)parse(&sample->row, sample->text, cut);
            (void)parse(&sample->row, sample->text + cut, size - cut);
        }
        CHECK(parse(&sample->row, sample->text, size - 1) == PL_ODD);
        CHECK(parse(&sample->row, sample->text, 0) == PL_ODD);
    }
    int64_t values[1 + 8 * 3];
    const struct sample *const stat = &samples[8];
    CHECK(pl_parse(&stat->row, key_text, stat->text, strlen(stat->text), values) == PL_OK);
    CHECK(values[0] == 0x2f && values[1] == 125 && values[2] == 40 && values[3] == 10000 && values[4] == 1);
    CHECK(values[8] == 2 && values[12] == 3 && values[16] == 4 && values[24] == 5);
}

static void mutated_text(long rounds)
{
    static const char alphabet[] = "some full avg10=.total\n\r\t maxhighlow0123456789-_swapcompactcpu_qos\xff";
    char text[1024];
    for (long round = 0; round < rounds; round++) {
        const struct sample *const sample = &samples[random_below(SAMPLES)];
        const struct sample *const other = &samples[random_below(SAMPLES)];
        size_t size = strlen(sample->text);
        memcpy(text, sample->text, size);
        for (uint32_t change = 1 + random_below(4); change > 0; change--) {
            const size_t at = random_below((uint32_t)size + 1);
            switch (random_below(4)) {
            case 0: /* cut out */
                if (at < size) {
                    const size_t gone = 1 + random_below((uint32_t)(size - at));
                    memmove(text + at, text + at + gone, size - at - gone);
                    size -= gone;
                }
                break;
            case 1: /* put in */
                if (size < sizeof(text)) {
                    memmove(text + at + 1, text + at, size - at);
                    text[at] = alphabet[random_below(sizeof(alphabet))];
                    size++;
                }
                break;
            case 2: /* another file's end */
                if (at + strlen(other->text) < sizeof(text)) {
                    memcpy(text + at, other->text, strlen(other->text));
                    size = at + strlen(other->text);
                }
                break;
            default:
                if (at < size) {
                    text[at] = (char)random_below(256);
                }
            }
        }
        (void)parse(&sample->row, text, size);
        (void)parse(&other->row, text, size);
    }
}

/* Any row: refused, or safe to parse with. */
static void any_row(long rounds)
{
    long taken = 0;
    for (long round = 0; round < rounds; round++) {
        const size_t keys_size = random_below(24);
        const size_t words = random_below(40);
        char *const keys = malloc(keys_size + 1);
        int64_t *const values = malloc((words + 1) * sizeof(int64_t));
        CHECK(keys != NULL && values != NULL);
        for (size_t at = 0; at < keys_size; at++) {
            keys[at] = (char)random_below(6);
        }
        struct pl_row row = {
            .descriptor = 3,
            .format = (int32_t)random_below(6) - 1,
            .offset = (int32_t)random_below(44) - 2,
            .keys = (int32_t)random_below(28) - 2,
            .count = (int32_t)random_below(6) - 1,
        };
        if (random_below(8) == 0) {
            int32_t *const fields[] = {&row.format, &row.offset, &row.keys, &row.count};
            *fields[random_below(4)] = random_below(2) ? INT32_MAX : INT32_MIN;
        }
        /* Exactly as large as claimed: shrink what was rounded up. */
        char *const exact = keys_size > 0 ? realloc(keys, keys_size) : keys;
        CHECK(exact != NULL);
        if (row.format != PL_FREE && pl_row_fits(&row, exact, keys_size, words)) {
            taken++;
            int64_t *const own = malloc(words * sizeof(int64_t));
            CHECK(own != NULL);
            const char *const text = samples[random_below(SAMPLES)].text;
            (void)pl_parse(&row, exact, text, strlen(text), own + row.offset);
            free(own);
        }
        free(values);
        free(exact);
    }
    CHECK(taken > rounds / 1000);
}

static int32_t served_as(const struct pl_row *row, const char *text, const int *script, int64_t *values)
{
    char *const buffer = malloc(PL_BUFFER_SIZE);
    CHECK(buffer != NULL);
    served = text;
    answers = script;
    asked = 0;
    const int32_t status = pl_read(row, key_text, buffer, values);
    free(buffer);
    return status;
}

static void reading(void)
{
    int64_t values[4] = {0};
    const struct pl_row closed = {-1, PL_VALUE, 0, 0, 0};
    const struct pl_row value = {3, PL_VALUE, 0, 0, 0};
    const struct pl_row keyed = {3, PL_KEYED, 0, 0, 3};

    CHECK(served_as(&closed, "", (const int[]){-EIO}, values) == PL_CLOSED && asked == 0);
    CHECK(served_as(&value, "42\n", (const int[]){3}, values) == PL_OK && values[0] == 42 && asked == 1);
    CHECK(served_as(&value, "42\n", (const int[]){-EINTR, -EINTR, 3}, values) == PL_OK && asked == 3);
    CHECK(served_as(&value, "", (const int[]){0}, values) == PL_ODD && asked == 1);
    const int errors[] = {ENODEV, EOPNOTSUPP, EIO, EBADF, EISDIR};
    for (size_t each = 0; each < sizeof(errors) / sizeof(errors[0]); each++) {
        CHECK(served_as(&value, "", (const int[]){-errors[each]}, values) == errors[each]);
    }

    char *const long_text = malloc(PL_BUFFER_SIZE);
    CHECK(long_text != NULL);
    for (size_t at = 0; at < PL_BUFFER_SIZE; at += 4) {
        memcpy(long_text + at, "x 1\n", 4);
    }
    memcpy(long_text + PL_CHUNK, "low 77\n\n", 8);
    /* A full page may be followed by more, an error or the end; after anything else nothing is asked. */
    CHECK(served_as(&keyed, long_text, (const int[]){PL_CHUNK, 8}, values) == PL_OK && values[1] == 77 && asked == 2);
    CHECK(served_as(&keyed, long_text, (const int[]){PL_CHUNK, 0}, values) == PL_OK && values[0] == 0 && asked == 2);
    CHECK(served_as(&keyed, long_text, (const int[]){PL_CHUNK, -ENODEV}, values) == ENODEV);
    CHECK(served_as(&keyed, long_text, (const int[]){PL_CHUNK, -EINTR, 8}, values) == PL_OK && values[1] == 77);
    CHECK(served_as(&keyed, long_text, (const int[]){PL_BUFFER_SIZE}, values) == PL_ODD && asked == 1);
    CHECK(served_as(&keyed, long_text, (const int[]){PL_BUFFER_SIZE - 4}, values) == PL_OK && asked == 1);
    free(long_text);
}

int main(int count, char **arguments)
{
    const long rounds = count > 1 ? strtol(arguments[1], NULL, 10) : 200000;
    good_text();
    reading();
    mutated_text(rounds);
    any_row(rounds);
    printf("harness: %ld mutations and as many rows, nothing found\n", rounds);
    return 0;
}
