package main

import (
	"strings"
	"testing"
)

func TestInheritedSocketsAreForTheirOwner(t *testing.T) {
	for _, c := range []struct {
		name, fds, pid string
		problem        string
	}{
		{"none", "", "", ""},
		{"of another process", "2", "1", ""},
		{"of nobody", "2", "", ""},
		{"none in number", "0", "42", ""},
		{"no number", "two", "42", "not a number of sockets"},
		{"too many", "99999", "42", "not a number of sockets"},
		{"fewer than none", "-1", "42", "not a number of sockets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{"LISTEN_FDS": c.fds, "LISTEN_PID": c.pid}
			got, err := inheritedSockets(func(k string) string { return env[k] }, 42)
			if len(got) != 0 {
				t.Errorf("%d sockets", len(got))
			}
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}
