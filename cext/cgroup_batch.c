/*
 * One cgroup file: read through a descriptor that is held open, parsed into 64-bit words.
 *
 * Only the text a kernel usually prints is taken here. Whatever else there is, wrong or merely unusual, is PL_ODD and is
 * read again and judged by the parsers in Python, so that there is one place that says what is malformed.
 */
#include "common.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct name {
    const char *text;
    size_t length;
};

/* What is left to parse. */
struct span {
    const char *at;
    const char *end;
};

size_t pl_words(int32_t format, int32_t count)
{
    if (count < 0 || count > PL_KEYS_MAX) {
        return 0;
    }
    switch (format) {
    case PL_VALUE:
        return count == 0 ? 1 : 0;
    case PL_KEYED:
        return 1 + (size_t)count;
    case PL_PSI:
        return count == 0 ? 1 + 2 * (size_t)PL_LINE_WORDS : 0;
    case PL_PRESSURE_STAT:
        return 1 + 2 * (size_t)PL_LINE_WORDS * (size_t)count;
    default:
        return 0;
    }
}

int pl_row_fits(const struct pl_row *row, const char *keys, size_t keys_size, size_t words)
{
    if (row->format == PL_FREE) {
        return 1;
    }
    const size_t needed = pl_words(row->format, row->count);
    if (needed == 0 || row->offset < 0 || needed > words || (size_t)row->offset > words - needed) {
        return 0;
    }
    if (row->keys < 0 || (size_t)row->keys > keys_size) {
        return 0;
    }
    size_t at = (size_t)row->keys;
    for (int32_t index = 0; index < row->count; index++) {
        if (at == keys_size) {
            return 0;
        }
        const size_t length = (unsigned char)keys[at];
        at++;
        /* A name with a space or a line's end in it can never be a key, but its first bytes would look like one. */
        if (length == 0 || length > keys_size - at || memchr(keys + at, ' ', length) != NULL ||
            memchr(keys + at, '\n', length) != NULL) {
            return 0;
        }
        at += length;
    }
    return 1;
}

static void names_of(const struct pl_row *row, const char *keys, struct name *names)
{
    const char *at = keys + row->keys;
    for (int32_t index = 0; index < row->count; index++) {
        names[index].length = (unsigned char)*at;
        names[index].text = at + 1;
        at += 1 + names[index].length;
    }
}

static int literal(struct span *text, const char *expected, size_t length)
{
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, expected, length) != 0) {
        return 0;
    }
    text->at += length;
    return 1;
}

#define LITERAL(text, expected) literal(text, expected, sizeof(expected) - 1)

/* One to `most` (at most 19) digits. */
static int digits(struct span *text, ptrdiff_t most, uint64_t *value)
{
    const char *const begin = text->at;
    const char *const limit = text->end - begin > most ? begin + most : text->end;
    uint64_t number = 0;
    const char *at = begin;
    while (at < limit && *at >= '0' && *at <= '9') {
        number = number * 10 + (uint64_t)(*at - '0');
        at++;
    }
    text->at = at;
    *value = number;
    return at > begin;
}

static int integer(struct span *text, int64_t *value)
{
    uint64_t number;
    if (!digits(text, 19, &number) || number > INT64_MAX) {
        return 0;
    }
    *value = (int64_t)number;
    return 1;
}

/* `1.25`, in hundredths. */
static int share(struct span *text, int64_t *value)
{
    uint64_t whole;
    if (!digits(text, 9, &whole) || text->end - text->at < 3 || text->at[0] != '.') {
        return 0;
    }
    const unsigned tens = (unsigned)(text->at[1] - '0');
    const unsigned ones = (unsigned)(text->at[2] - '0');
    if (tens > 9 || ones > 9) {
        return 0;
    }
    text->at += 3;
    *value = (int64_t)(whole * 100 + tens * 10 + ones);
    return 1;
}

/* The rest of a `some` or `full` line. */
static int figures(struct span *text, int64_t *values)
{
    return LITERAL(text, " avg10=") && share(text, &values[0]) && LITERAL(text, " avg60=") && share(text, &values[1]) &&
           LITERAL(text, " avg300=") && share(text, &values[2]) && LITERAL(text, " total=") &&
           integer(text, &values[3]) && LITERAL(text, "\n");
}

/* The one or two lines of a file or a section: a mask of `some` (1) and `full` (2), 0 for anything else. */
static unsigned lines(struct span *text, int64_t *values)
{
    unsigned found = 0;
    while (text->at < text->end) {
        unsigned degree;
        if (LITERAL(text, "some")) {
            degree = 1;
        } else if (LITERAL(text, "full")) {
            degree = 2;
        } else {
            break;
        }
        if ((found & degree) != 0 || !figures(text, values + (degree - 1) * (unsigned)PL_LINE_WORDS)) {
            return 0;
        }
        found |= degree;
    }
    return found;
}

static int32_t parse_value(struct span *text, int64_t *values)
{
    if (LITERAL(text, "max")) {
        values[0] = INT64_MAX;
    } else if (!integer(text, &values[0])) {
        return PL_ODD;
    }
    return LITERAL(text, "\n") && text->at == text->end ? PL_OK : PL_ODD;
}

static int32_t parse_keyed(struct span *text, const struct name *names, int32_t count, int64_t *values)
{
    const size_t size = (size_t)(text->end - text->at);
    if (size == 0 || text->end[-1] != '\n' || memchr(text->at, '\r', size) != NULL) {
        return PL_ODD;
    }
    uint64_t found = 0;
    while (text->at < text->end) {
        const char *const newline = memchr(text->at, '\n', (size_t)(text->end - text->at));
        const size_t length = (size_t)(newline - text->at);
        for (int32_t index = 0; index < count; index++) {
            const struct name *const name = &names[index];
            if (length < name->length || memcmp(text->at, name->text, name->length) != 0) {
                continue;
            }
            struct span rest = {text->at + name->length, newline};
            if (rest.at < newline && *rest.at != ' ') {
                continue; /* only the beginning of a longer key */
            }
            if (!LITERAL(&rest, " ") || !integer(&rest, &values[1 + index]) || rest.at != newline) {
                return PL_ODD;
            }
            found |= UINT64_C(1) << index;
            break;
        }
        text->at = newline + 1;
    }
    values[0] = (int64_t)found;
    return PL_OK;
}

static int32_t parse_psi(struct span *text, int64_t *values)
{
    values[0] = (int64_t)lines(text, values + 1);
    return values[0] != 0 && text->at == text->end ? PL_OK : PL_ODD;
}

/* Sections in the order of `names`, any of which may be missing. Another order, or another section, is odd. */
static int32_t parse_pressure_stat(struct span *text, const struct name *names, int32_t count, int64_t *values)
{
    uint64_t found = 0;
    int32_t index = 0;
    while (text->at < text->end) {
        while (index < count && !((size_t)(text->end - text->at) > names[index].length &&
                                  text->at[names[index].length] == '\n' &&
                                  literal(text, names[index].text, names[index].length))) {
            index++;
        }
        if (index == count) {
            return PL_ODD;
        }
        text->at++;
        const unsigned mask = lines(text, values + 1 + (size_t)index * 2 * PL_LINE_WORDS);
        if (mask == 0) {
            return PL_ODD;
        }
        found |= (uint64_t)mask << (2 * index);
        index++;
    }
    values[0] = (int64_t)found;
    return found != 0 ? PL_OK : PL_ODD;
}

int32_t pl_parse(const struct pl_row *row, const char *keys, const char *text, size_t size, int64_t *values)
{
    struct name names[PL_KEYS_MAX];
    struct span span = {text, text + size};
    names_of(row, keys, names);
    switch (row->format) {
    case PL_VALUE:
        return parse_value(&span, values);
    case PL_KEYED:
        return parse_keyed(&span, names, row->count, values);
    case PL_PSI:
        return parse_psi(&span, values);
    case PL_PRESSURE_STAT:
        return parse_pressure_stat(&span, names, row->count, values);
    default:
        return PL_ODD;
    }
}

int32_t pl_read(const struct pl_row *row, const char *keys, char *buffer, int64_t *values)
{
    if (row->descriptor < 0) {
        return PL_CLOSED;
    }
    size_t size = 0;
    do {
        const ssize_t got = pread(row->descriptor, buffer + size, PL_BUFFER_SIZE - size, (off_t)size);
        if (got == 0) {
            break;
        }
        if (got > 0) {
            size += (size_t)got;
        } else if (errno != EINTR) {
            return (int32_t)errno;
        }
    } while (size % PL_CHUNK == 0 && size < PL_BUFFER_SIZE);
    if (size == PL_BUFFER_SIZE) {
        return PL_ODD;
    }
    return pl_parse(row, keys, buffer, size, values);
}
