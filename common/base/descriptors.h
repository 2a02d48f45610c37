/* base/descriptors.h - 0, 1 and 2 are taken, whatever a supervisor left open.
 *
 *     int main(...) { if (!descriptors_reserve()) { return 1; } ...
 *
 * Where one of them is closed, the next socket gets its number, and what is printed goes into a
 * conversation with a server. First thing in main.
 */
#ifndef STILLHOUSE_BASE_DESCRIPTORS_H
#define STILLHOUSE_BASE_DESCRIPTORS_H

#include <stdbool.h>

#include "base/status.h"

/* Opens what is missing so that it fails as a closed one does (a read from 0, a write to 1), and
 * takes what is written to 2. False when that cannot be done; nobody could be told. */
bool descriptors_reserve(void) MUSTCHECK;

#endif
