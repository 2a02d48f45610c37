# Writes OUT: a C header with the bytes of IN as an array, for queue.c.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x[0-9a-f][0-9a-f],){20})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "static const char queue_lua[] = {\n${bytes}0x00};\n")
