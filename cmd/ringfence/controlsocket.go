package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"ringfence/console"
)

// runDirectory is where daemons keep sockets (FHS 3.0 section 3.15).
const runDirectory = "/run/ringfence"

// controlSockets are the places of the control socket of a state directory, the
// best first: in it, or where that cannot be written in a runtime directory. The
// daemon and the command line look in the same.
func controlSockets(dir string) []string {
	out := []string{filepath.Join(dir, "control.sock")}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return out
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	name := hex.EncodeToString(sum[:8]) + ".sock"
	at := []string{runDirectory}
	if x := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(x) {
		at = append(at, filepath.Join(x, "ringfence"))
	}
	at = append(at, filepath.Join(os.TempDir(), "ringfence-"+strconv.Itoa(os.Geteuid())))
	for _, d := range at {
		if private(d) == nil || errors.Is(private(d), fs.ErrNotExist) {
			out = append(out, filepath.Join(d, name))
		}
	}
	return out
}

// private checks that nobody else can put a socket into a directory.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	mine := owner == uint32(os.Geteuid()) || dir == runDirectory // #nosec G115 -- only root makes one in /run
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !mine {
		return fmt.Errorf("%s is not a directory of ringfence's user with mode 0700", dir)
	}
	return nil
}

// ownDirectory makes a directory that is private.
func ownDirectory(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return private(dir)
}

// client reaches the daemon of the state directory.
func (g *globals) client() *console.Client {
	dir, err := filepath.Abs(g.dir())
	if err != nil {
		dir = g.dir()
	}
	return console.NewClient(dir, controlSockets(g.dir())...)
}
