package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// firstInherited is the first descriptor that systemd passes, sd_listen_fds(3).
const firstInherited = 3

// mostInherited is more listeners than anybody has.
const mostInherited = 1024

// inheritedSockets are the sockets that systemd has opened for this process and
// keeps open when it ends, so that a restart loses nothing (systemd.socket(5)).
// They are meant for one process: the environment is cleared of them.
func inheritedSockets(getenv func(string) string, pid int) ([]*os.File, error) {
	count, owner := getenv("LISTEN_FDS"), getenv("LISTEN_PID")
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name) // fails only for names that are none
	}
	if count == "" || owner != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > mostInherited {
		return nil, fmt.Errorf("LISTEN_FDS is %q, not a number of sockets", count)
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	var out []*os.File
	for i := range n {
		fd := firstInherited + i
		syscall.CloseOnExec(fd)
		name := strconv.Itoa(fd)
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		out = append(out, os.NewFile(uintptr(fd), name))
	}
	return out, nil
}
