#include "record.h"

#include <stdint.h>
#include <string.h>

#define BIT(tag) (UINT64_C(1) << (tag))
#define WHO (BIT(USER) | BIT(CONNECTION) | BIT(SERVICE) | BIT(RHOST) | BIT(MODE))

static const struct kind {
  enum type type;
  enum sender sender;
  uint64_t required, optional;
} kinds[] = {
  {AUTH, FROM_MODULE, WHO | BIT(FIRST) | BIT(FACE) | BIT(SECONDS) | BIT(LOCKED), 0},
  {ANSWER, FROM_MODULE, BIT(EMPTY), 0},
  {ACCOUNT, FROM_MODULE, WHO, 0},
  {COMMIT, FROM_MODULE, WHO, 0},
  {SHOW, FROM_BROKER, BIT(TEXT), 0},
  {ASK, FROM_BROKER, BIT(TEXT), 0},
  {VERDICT, FROM_BROKER, BIT(RESULT), BIT(USER) | BIT(TEXT) | BIT(AUDIT)},
};

enum form { LINE, LINES, DIGITS, IDENTIFIER, WORD };

static const struct rule {
  size_t least, most;
  enum form form;
  const char *words[5];
} rules[TAGS] = {
  [USER] = {1, 255, LINE, {0}},
  [CONNECTION] = {1, CONNECTION_MAX, IDENTIFIER, {0}},
  [SERVICE] = {1, 64, LINE, {0}},
  [RHOST] = {0, 255, LINE, {0}},
  [FIRST] = {0, FIRST_MAX, LINES, {0}},
  [MODE] = {1, 5, WORD, {"login", "seed"}},
  [FACE] = {1, 6, WORD, {"live", "prompt"}},
  [SECONDS] = {1, 4, DIGITS, {0}},
  [LOCKED] = {1, 1, WORD, {"0", "1"}},
  [EMPTY] = {1, 1, WORD, {"0", "1"}},
  [TEXT] = {0, 8192, LINES, {0}},
  [RESULT] = {1, 11, WORD, {"ok", "denied", "unavailable", "ignore"}},
  [AUDIT] = {0, 1024, LINE, {0}},
};

static const struct kind *kind_of(unsigned type, enum sender sender) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (kinds[i].type == type && kinds[i].sender == sender) return &kinds[i];
  return NULL;
}

/** RFC 3629 section 3, and neither C0, DEL nor C1. */
static bool is_text(const unsigned char *p, size_t length, bool newlines) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < length;) {
    uint32_t c = p[i++];
    const unsigned more = c < 0x80 ? 0 : c < 0xc0 ? 4 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf8 ? 3 : 4;
    if (more > 3 || more > length - i) return false;
    if (more > 0) c &= UINT32_C(0x3f) >> more;
    for (unsigned k = 0; k < more; k++, i++) {
      if ((p[i] & 0xc0) != 0x80) return false;
      c = c << 6 | (p[i] & UINT32_C(0x3f));
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return false;
    if ((c < 0x20 && !(newlines && c == '\n')) || (c >= 0x7f && c <= 0x9f)) return false;
  }
  return true;
}

static bool only(const unsigned char *p, size_t length, const char *alphabet) {
  for (size_t i = 0; i < length; i++)
    if (p[i] == 0 || strchr(alphabet, p[i]) == NULL) return false;
  return true;
}

static bool obeys(const struct rule *rule, const unsigned char *p, size_t length) {
  if (length < rule->least || length > rule->most) return false;
  switch (rule->form) {
  case LINE: return is_text(p, length, false);
  case LINES: return is_text(p, length, true);
  case DIGITS: return only(p, length, "0123456789");
  case IDENTIFIER: return only(p, length, "0123456789abcdefghijklmnopqrstuvwxyz:.");
  case WORD:
    for (const char *const *word = rule->words; *word != NULL; word++)
      if (strlen(*word) == length && memcmp(*word, p, length) == 0) return true;
  }
  return false;
}

const char *record_header(const unsigned char *header, enum sender sender, size_t *payload) {
  const size_t length = (size_t)header[2] << 8 | header[3];
  if (header[0] != RECORD_VERSION) return "another version of the protocol";
  if (kind_of(header[1], sender) == NULL) return "no such type";
  if (length > PAYLOAD_MAX) return "too long";
  *payload = length;
  return NULL;
}

const char *record_parse(const unsigned char *bytes, size_t length, enum sender sender, struct record *record) {
  size_t payload = 0;
  if (length < HEADER_SIZE) return "cut short";
  const char *wrong = record_header(bytes, sender, &payload);
  if (wrong != NULL) return wrong;
  if (payload != length - HEADER_SIZE) return "not as long as it says";
  const struct kind *kind = kind_of(bytes[1], sender);
  uint64_t seen = 0;
  unsigned last = 0;
  *record = (struct record){.type = kind->type};
  for (const unsigned char *p = bytes + HEADER_SIZE, *const end = bytes + length; p < end;) {
    if (end - p < 3) return "a field is cut short";
    const unsigned tag = p[0];
    const size_t size = (size_t)p[1] << 8 | p[2];
    p += 3;
    if (size > (size_t)(end - p)) return "a field is cut short";
    if (tag <= last) return "fields are out of order";
    if (tag >= TAGS || ((kind->required | kind->optional) & BIT(tag)) == 0) return "a field that has no place here";
    if (!obeys(&rules[tag], p, size)) return "a field with a value that it may not have";
    record->fields[tag] = (struct field){(const char *)p, size};
    seen |= BIT(tag);
    last = tag;
    p += size;
  }
  if ((kind->required & ~seen) != 0) return "a field is missing";
  if (kind->type == VERDICT && field_is(record->fields[RESULT], "ok") != ((seen & BIT(USER)) != 0))
    return "a user is named by ok, and by nothing else";
  return NULL;
}

size_t record_write(const struct record *record, enum sender sender, unsigned char *out, size_t room) {
  size_t length = HEADER_SIZE;
  if (room < HEADER_SIZE) return 0;
  for (unsigned tag = 1; tag < TAGS; tag++) {
    const struct field field = record->fields[tag];
    if (field.bytes == NULL) continue;
    if (field.length > PAYLOAD_MAX || room - length < field.length + 3) return 0;
    out[length++] = (unsigned char)tag;
    out[length++] = (unsigned char)(field.length >> 8);
    out[length++] = (unsigned char)(field.length & 0xff);
    memcpy(out + length, field.bytes, field.length);
    length += field.length;
  }
  if (length > RECORD_MAX) return 0;
  out[0] = RECORD_VERSION;
  out[1] = (unsigned char)record->type;
  out[2] = (unsigned char)((length - HEADER_SIZE) >> 8);
  out[3] = (unsigned char)((length - HEADER_SIZE) & 0xff);
  struct record again;
  return record_parse(out, length, sender, &again) == NULL ? length : 0;
}

void record_put(struct record *record, enum tag tag, const char *value) {
  record->fields[tag] = (struct field){value, strlen(value)};
}

bool field_is(struct field field, const char *value) {
  return field.bytes != NULL && field.length == strlen(value) && memcmp(field.bytes, value, field.length) == 0;
}
