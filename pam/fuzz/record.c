/*
 * libFuzzer on the records. The first byte says who is thought to have sent the rest. What the parser takes must lie inside of what it
 * was given, must be what the header promised, and must be written back as it came.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
  if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  const enum sender sender = (data[0] & 1) != 0 ? FROM_BROKER : FROM_MODULE;
  const uint8_t *const bytes = data + 1, *const end = data + size;
  const size_t length = size - 1;
  struct record record;
  if (record_parse(bytes, length, sender, &record) != NULL) return 0;
  size_t payload = 0;
  must(record_header(bytes, sender, &payload) == NULL && payload == length - HEADER_SIZE);
  for (unsigned tag = 0; tag < TAGS; tag++) {
    const struct field field = record.fields[tag];
    if (field.bytes == NULL) continue;
    const uint8_t *const at = (const uint8_t *)field.bytes;
    must(at >= bytes + HEADER_SIZE + 3 && field.length <= (size_t)(end - at));
    for (size_t i = 0; i < field.length; i++) must(at[i] >= 0x20 ? at[i] != 0x7f : at[i] == '\n' && (tag == TEXT || tag == FIRST));
  }
  if (record.type == VERDICT) must(field_is(record.fields[RESULT], "ok") == (record.fields[USER].bytes != NULL));
  unsigned char again[RECORD_MAX];
  must(record_write(&record, sender, again, sizeof again) == length && memcmp(again, bytes, length) == 0);
  must(record_write(&record, sender, again, length - 1) == 0);
  return 0;
}
