/* What a compiled module would do in the places where numpy needs several passes: see prototype.py. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t table[256];

void prepare(void) {
    for (int byte = 0; byte < 256; byte++)
        for (int bit = 0; bit < 8; bit++) table[byte] |= (uint64_t)(byte >> bit & 1) << 8 * bit;
}

/* Rows of whole bytes, lowest bit first, to rows that are `stride` bytes apart. */
void unpack_rows(const uint8_t *packed, long rows, long row_nbytes, uint8_t *out, long stride) {
    for (long i = 0; i < rows; i++, out += stride)
        for (long k = 0; k < row_nbytes; k++) memcpy(out + 8 * k, &table[*packed++], 8);
}

/* Rows of `bits` bits that begin `row_bits` bits apart, the first at bit `start`. */
void unpack_ragged(const uint8_t *packed, long start, long rows, long bits, long row_bits, uint8_t *out, long stride) {
    for (long i = 0; i < rows; i++, out += stride, start += row_bits)
        for (long k = 0; k < bits; k++) out[k] = packed[(start + k) >> 3] >> ((start + k) & 7) & 1;
}

/* Files of one size to their places in one array of bools; the number of those that were read. */
long unpack_files(const char **paths, long count, long rows, long row_nbytes, uint8_t **outs, long stride) {
    uint8_t *packed = malloc(rows * row_nbytes);
    long done = 0;
    for (; done < count; done++) {
        int fd = open(paths[done], O_RDONLY | O_CLOEXEC);
        if (fd < 0) break;
        long got = read(fd, packed, rows * row_nbytes);
        close(fd);
        if (got != rows * row_nbytes) break;
        unpack_rows(packed, rows, row_nbytes, outs[done], stride);
    }
    free(packed);
    return done;
}

/* Byte planes of 4-byte elements, straight to rows of an array. */
void unshuffle_rows(const uint8_t *planes, long rows, long columns, uint32_t *out, long stride) {
    long count = rows * columns;
    for (long i = 0; i < rows; i++, out = (uint32_t *)((uint8_t *)out + stride))
        for (long k = 0; k < columns; k++) {
            const uint8_t *at = planes + i * columns + k;
            out[k] = at[0] | (uint32_t)at[count] << 8 | (uint32_t)at[2 * count] << 16 | (uint32_t)at[3 * count] << 24;
        }
}

/* Numbers between blanks and line ends; how many there were, up to `most`. */
long parse_numbers(const char *text, long nbytes, double *out, long most) {
    const char *end = text + nbytes;
    long count = 0;
    while (count < most) {
        while (text < end && (*text == ' ' || *text == '\n' || *text == ',')) text++;
        if (text >= end) break;
        char *next;
        out[count] = strtod(text, &next);
        if (next == text) break;
        text = next;
        count++;
    }
    return count;
}
