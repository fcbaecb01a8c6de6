package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesOfAConfiguration: a check says of every file that cannot be used which
// setting names it, and where that stands.
func TestFilesOfAConfiguration(t *testing.T) {
	dir := t.TempDir()
	junk, conf := filepath.Join(dir, "junk"), filepath.Join(dir, "c.yaml")
	for path, text := range map[string]string{junk: "junk", conf: "listen:\n  - {transport: udp}\n  - {transport: tls, certificate: junk, key: junk}\ngeo: [junk, none.mmdb]\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &runFlags{config: conf}
	said := fmt.Sprint(f.files(&config{
		Geo:    []string{junk, filepath.Join(dir, "none.mmdb")},
		Listen: []listenConfig{{Transport: "udp"}, {Transport: "tls", Certificate: junk, Key: junk}},
	}))
	for _, want := range []string{conf + ":4:7: error: geo.0: geo database " + junk, conf + ":4:13: error: geo.1: geo database: ", conf + ":3:", "listen.1.certificate: tls: "} {
		if !strings.Contains(said, want) {
			t.Errorf("%s\nwant %q", said, want)
		}
	}
	if bad := f.files(&config{Listen: []listenConfig{{Transport: "tls"}}}); len(bad) > 0 {
		t.Error(bad)
	}
}
