package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

func TestReloadIsLoggedOnce(t *testing.T) {
	c := new(config)
	c.Listen = []listenConfig{{Transport: "udp", Address: netip.MustParseAddrPort("127.0.0.1:0")}}
	c.Metrics, c.Record.Log, c.Screen.Mode = "off", "off", "off"
	dir := t.TempDir()
	c.Store.Dir = dir
	c.fill(dir)
	var log bytes.Buffer
	g, err := newGuardian(t.Context(), c, nil, guardianOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	g.reload(t.Context())
	if n := strings.Count(log.String(), "rules applied"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &log)
	}
}

func TestRegistrationsSayTheModeInUse(t *testing.T) {
	for _, c := range []struct {
		location        bool
		register        string
		knows, answered bool
		want            string
	}{
		{true, "auto", false, false, "location service"},
		{false, "path", false, false, "through Path"},
		{false, "contact", false, false, "rewritten Contact"},
		{false, "auto", false, false, "no registration was answered yet"},
		{false, "auto", true, true, "through Path (RFC 3327), which it has shown"},
		{false, "auto", false, true, "rewritten Contact, since"},
	} {
		if got := registrations(c.location, c.register, c.knows, c.answered); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
