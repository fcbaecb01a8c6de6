package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesOfAConfiguration: a check says of every file that cannot be used which
// setting names it.
func TestFilesOfAConfiguration(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := checkFiles(&config{
		Geo:    []string{junk, filepath.Join(dir, "none.mmdb")},
		Listen: []listenConfig{{Transport: "udp"}, {Transport: "tls", Certificate: junk, Key: junk}},
	})
	for _, want := range []string{"geo.0: geo database " + junk, "geo.1: geo database: ", "listen.1.certificate: tls: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := checkFiles(&config{Listen: []listenConfig{{Transport: "tls"}}}); err != nil {
		t.Error(err)
	}
}
