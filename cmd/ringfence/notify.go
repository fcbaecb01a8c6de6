package main

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// notify tells systemd how the daemon is doing (sd_notify); without systemd it
// does nothing.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return // systemd is not listening: there is nobody to tell
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

// monotonicMicroseconds is the clock that systemd wants with RELOADING=1.
func monotonicMicroseconds() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano() / 1000
}
