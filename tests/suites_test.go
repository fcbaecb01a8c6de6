package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSuites plays the pairs of third-party scenarios through the daemon, over
// UDP and over TCP: user agents that were not written with it in mind.
func TestSuites(t *testing.T) {
	needs(t, "sipp")
	dir := corpus(t, "suites")
	text, err := os.ReadFile(filepath.Join(dir, "pairs.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	pairs := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(pairs) < 11 {
		t.Fatalf("%d pairs", len(pairs))
	}
	for _, network := range []string{"udp", "tcp"} {
		callee, port := freePort(t), freePort(t)
		us := addr("127.0.0.1", port)
		// One pair sends an SDP of 13 KB in a datagram, which the default limit
		// would cut off.
		config := filepath.Join(t.TempDir(), "ringfence.yaml")
		if err := writeFile(config, "limits: {datagram: 65535}\n"+
			"next_hops: [{name: callee, address: \""+addr("127.0.0.1", callee)+"\", transport: "+network+", probe: -1s}]\n"); err != nil {
			t.Fatal(err)
		}
		start(t, "", t.TempDir(), "--config", config, "--listen", network+":"+us,
			"--rules", "none", "--filter", "off", "--metrics", "off")
		for _, line := range pairs {
			f := strings.Split(line, "\t")
			t.Run(network+"/"+f[2], func(t *testing.T) {
				if strings.HasSuffix(f[0], "uac-notify-during-call-setup.xml") {
					t.Skip("its NOTIFY has a CSeq of 1 ACK, which is refused (RFC 3261 section 8.1.1.5)")
				}
				tcp := network == "tcp"
				wait := sipp{file: filepath.Join(dir, f[1]), local: addr("127.0.0.1", callee), tcp: tcp}.background(t, nil)
				caller := sipp{file: withoutTrying(t, filepath.Join(dir, f[0])), local: addr("127.0.0.1", freePort(t)), remote: us, tcp: tcp, more: []string{"-s", "bob"}}
				r := caller.run(t, nil)
				must(t, "the callee", wait())
				must(t, "the caller", r)
			})
		}
		t.Run(network+"/Max-Forwards of 0", func(t *testing.T) {
			caller := sipp{
				file: filepath.Join(dir, "siphon-sipp/max_forwards_zero.xml"), local: addr("127.0.0.1", freePort(t)),
				remote: us, tcp: network == "tcp", more: []string{"-s", "bob"},
			}
			must(t, "the caller", caller.run(t, nil))
		})
	}
}

var trying = regexp.MustCompile(`<recv response="100"(\s*/?>)`)

// withoutTrying is a scenario in which a 100 may be missing: a server that
// passes another answer on within 200 ms need not send one (RFC 3261 section
// 17.2.1).
func withoutTrying(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(changed, trying.ReplaceAll(text, []byte(`<recv response="100" optional="true"$1`)), 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}
