package bpf

// The objects are committed: a build needs no compiler for them. Another clang
// is another answer of the verifier, so it is the one of Debian 12.
//
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel,bpfeb -no-global-types -type source -type prefix -type ban -type flow -type number -type rate -type options -type count screen screen.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
