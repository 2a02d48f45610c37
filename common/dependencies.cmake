# Finds every library, then stops once with all that is missing and the Debian package of each.
# Leaves interface targets: dep_hiredis dep_msgpack dep_cjson dep_curl dep_curl_linked dep_sqlite
# dep_sqlite_linked dep_pq dep_pq_linked dep_nettle dep_microhttpd dep_criterion; HAVE_HIREDIS_SSL; and for stillhouse.pc:
# MSGPACK_PC_REQUIRES, MSGPACK_PC_LIBS.
find_package(PkgConfig)
if(NOT PKG_CONFIG_FOUND)
  message(FATAL_ERROR "pkg-config not found: apt-get install pkg-config")
endif()
find_package(Threads REQUIRED)

set(MISSING "")

function(missing what package)
  set(MISSING "${MISSING}\n  ${what} not found: apt-get install ${package}" PARENT_SCOPE)
endfunction()

# dependency(<name> <pkg-config module and bound> <debian package>)
macro(dependency name module package)
  pkg_check_modules(PC_${name} QUIET IMPORTED_TARGET "${module}")
  add_library(dep_${name} INTERFACE)
  if(PC_${name}_FOUND)
    target_link_libraries(dep_${name} INTERFACE PkgConfig::PC_${name})
  else()
    missing("${module}" "${package}")
  endif()
endmacro()

dependency(hiredis "hiredis>=0.14.1" libhiredis-dev)
dependency(cjson "libcjson>=1.7.10" libcjson-dev)
dependency(curl_linked "libcurl>=7.88" libcurl4-openssl-dev)

# libcurl is loaded by the first HTTP request (common/http/curl.h): its headers are enough to build,
# and no program is linked with it. dep_curl_linked is for what calls it without that table.
option(STILLHOUSE_LINK_CURL "link libcurl instead of loading it at the first request" OFF)
add_library(dep_curl INTERFACE)
if(STILLHOUSE_LINK_CURL)
  target_link_libraries(dep_curl INTERFACE dep_curl_linked)
  target_compile_definitions(dep_curl INTERFACE STILLHOUSE_LINK_CURL=1)
else()
  target_include_directories(dep_curl SYSTEM INTERFACE ${PC_curl_linked_INCLUDE_DIRS})
  target_link_libraries(dep_curl INTERFACE ${CMAKE_DL_LIBS})
endif()

# libsqlite3 is loaded with the first learning store (common/learn/sqlite.c): its header is enough.
dependency(sqlite_linked "sqlite3>=3.38" libsqlite3-dev)
add_library(dep_sqlite INTERFACE)
target_include_directories(dep_sqlite SYSTEM INTERFACE ${PC_sqlite_linked_INCLUDE_DIRS})
target_link_libraries(dep_sqlite INTERFACE ${CMAKE_DL_LIBS})

# libpq is loaded with the first store on a server (common/learn/postgres.c): its header is enough.
dependency(pq_linked "libpq>=14" libpq-dev)
add_library(dep_pq INTERFACE)
target_include_directories(dep_pq SYSTEM INTERFACE ${PC_pq_linked_INCLUDE_DIRS})

dependency(nettle "nettle>=3.7" nettle-dev)
dependency(microhttpd "libmicrohttpd>=0.9.75" libmicrohttpd-dev)
if(BUILD_TESTING AND NOT STILLHOUSE_SANITIZE MATCHES "^(thread|fuzzer)$")
  dependency(criterion "criterion>=2.3" libcriterion-dev)
endif()

# TLS to Redis: a library of its own, from hiredis 1.0 on.
pkg_check_modules(PC_hiredis_ssl QUIET IMPORTED_TARGET hiredis_ssl)
if(PC_hiredis_ssl_FOUND)
  set(HAVE_HIREDIS_SSL 1)
  dependency(ssl "libssl>=3.0" libssl-dev)
  dependency(crypto "libcrypto>=3.0" libssl-dev)
  target_link_libraries(dep_hiredis INTERFACE PkgConfig::PC_hiredis_ssl dep_ssl dep_crypto)
  target_compile_definitions(dep_hiredis INTERFACE HAVE_HIREDIS_SSL=1)
endif()

# msgpack-c: the pkg-config file of 4 (Debian 12) is right; that of 6 (Debian 13) names a folder
# that IMPORTED_TARGET cannot resolve, so there its CMake package is taken.
add_library(dep_msgpack INTERFACE)
pkg_check_modules(PC_msgpack QUIET IMPORTED_TARGET msgpack)
if(NOT PC_msgpack_FOUND)
  find_package(msgpack-c CONFIG QUIET)
  if(NOT msgpack-c_FOUND)
    find_package(msgpackc CONFIG QUIET)
  endif()
endif()
if(PC_msgpack_FOUND)
  target_link_libraries(dep_msgpack INTERFACE PkgConfig::PC_msgpack)
  set(MSGPACK_PC_REQUIRES msgpack)
elseif(TARGET msgpack-c)
  target_link_libraries(dep_msgpack INTERFACE msgpack-c)
  set(MSGPACK_PC_LIBS -lmsgpack-c)
elseif(TARGET msgpackc)
  target_link_libraries(dep_msgpack INTERFACE msgpackc)
  set(MSGPACK_PC_LIBS -lmsgpackc)
else()
  missing("msgpack-c" "libmsgpack-dev (Debian 12) or libmsgpack-c-dev (Debian 13)")
endif()

find_path(UTHASH_INCLUDE_DIR uthash.h)
if(NOT UTHASH_INCLUDE_DIR)
  missing("uthash.h" uthash-dev)
endif()

if(MISSING)
  message(FATAL_ERROR "missing:${MISSING}\nor all at once: deploy/install-dependencies")
endif()
