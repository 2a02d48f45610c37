# Compiler flags of every target.
add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-format-truncation) # error texts are cut to their buffer on purpose
endif()
if(STILLHOUSE_WERROR)
  add_compile_options(-Werror)
endif()

if(CMAKE_BUILD_TYPE MATCHES "^Rel" AND STILLHOUSE_SANITIZE STREQUAL "")
  add_compile_options(-fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  add_link_options(-Wl,-z,relro -Wl,-z,now)
endif()

if(STILLHOUSE_SANITIZE STREQUAL "address")
  set(SANITIZE -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(STILLHOUSE_SANITIZE STREQUAL "thread")
  set(SANITIZE -fsanitize=thread)
elseif(STILLHOUSE_SANITIZE STREQUAL "fuzzer")
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "STILLHOUSE_SANITIZE=fuzzer needs clang, found ${CMAKE_C_COMPILER_ID}")
  endif()
  set(SANITIZE -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all)
elseif(NOT STILLHOUSE_SANITIZE STREQUAL "")
  message(FATAL_ERROR "STILLHOUSE_SANITIZE is \"${STILLHOUSE_SANITIZE}\", "
                      "expected address, thread, fuzzer or nothing")
endif()
if(SANITIZE)
  add_compile_options(${SANITIZE} -fno-omit-frame-pointer)
  add_link_options(${SANITIZE})
endif()

if(STILLHOUSE_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()

# Only what is used: the producer library shall not need what only workers do.
add_link_options(-Wl,--as-needed)
