package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"ringfence/record/tap"
)

func TestHEPServer(t *testing.T) {
	for to, want := range map[string]string{
		"udp:10.0.0.9:9061": "udp 10.0.0.9 9061", "10.0.0.9": "udp 10.0.0.9 9060", "tcp:[2001:db8::9]:9060": "tcp 2001:db8::9 9060",
		"tls:2001:db8::9": "tls 2001:db8::9 9060", "tls:capture.example": "tls capture.example 9060",
	} {
		network, host, port, err := (&hepConfig{To: to}).server()
		if got := fmt.Sprintln(network, host, port); err != nil || got != want+"\n" {
			t.Errorf("%s: %v, %s", to, err, got)
		}
	}
	for _, to := range []string{"sctp:10.0.0.9", "udp:", "tcp:10.0.0.9:0", "ws:a", "udp:a b"} {
		if _, _, _, err := (&hepConfig{To: to}).server(); err == nil {
			t.Errorf("%q is taken", to)
		}
	}
}

func TestHEPWithoutServer(t *testing.T) {
	for _, c := range []struct {
		c   hepConfig
		bad int
	}{{hepConfig{}, 0}, {hepConfig{ID: 1, Queue: 1}, 0}, {hepConfig{Credentials: true}, 1}, {hepConfig{Key: "file:x"}, 1}} {
		bad := 0
		c.c.check(func(string, string, ...any) { bad++ })
		if bad != c.bad {
			t.Errorf("%+v: %d problems", c.c, bad)
		}
	}
}

func TestHEPFilesMustBeThere(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []hepConfig{{To: "udp:127.0.0.1", Key: "file:" + missing}, {To: "tls:127.0.0.1", CA: missing}, {To: "tls:127.0.0.1", CA: "hep_test.go"}} {
		g := &guardian{cfg: &config{Record: recordConfig{HEP: c}}, tap: tap.New(tap.Options{})}
		if err := g.openTap(); err == nil {
			t.Errorf("%+v is opened", c)
		}
	}
}
