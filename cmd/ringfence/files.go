package main

import (
	"crypto/tls"
	"fmt"
	"os"

	"ringfence/intel/geo"
)

// files looks at the files that a configuration names and the daemon reads: each
// problem has the setting and its place.
func (f *runFlags) files(c *config) problems {
	var bad problems
	where := func(string) place { return place{} }
	if f.config != "" {
		if text, err := os.ReadFile(f.config); err == nil {
			where = places(text)
		}
	}
	say := func(setting string, err error) {
		if err != nil {
			at := where(setting)
			bad = append(bad, problem{f.config, at.line, at.col, setting + ": " + err.Error()})
		}
	}
	for i, path := range c.Geo {
		if err := geo.Check(path); err != nil && f.geo != "" {
			bad = append(bad, problem{File: "--geo", Text: err.Error()})
		} else {
			say(fmt.Sprintf("geo.%d", i), err)
		}
	}
	for i, l := range c.Listen {
		if l.Certificate == "" || l.Key == "" {
			continue
		}
		_, err := tls.LoadX509KeyPair(l.Certificate, l.Key)
		say(fmt.Sprintf("listen.%d.certificate", i), err)
	}
	return bad
}
