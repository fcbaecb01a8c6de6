package tests

import (
	"path/filepath"
	"testing"
)

// TestUserAgents plays calls of every kind between user agents of tests/peers/agents
// and looks at what each of them sees of the other.
func TestUserAgents(t *testing.T) {
	needs(t, "sipp")
	for _, network := range []string{"udp", "tcp"} {
		callee, port := freePort(t), freePort(t)
		us := addr("127.0.0.1", port)
		config := filepath.Join(t.TempDir(), "ringfence.yaml")
		if err := writeFile(config, "next_hops: [{name: callee, address: \""+addr("127.0.0.1", callee)+"\", transport: "+network+", probe: -1s}]\n"); err != nil {
			t.Fatal(err)
		}
		start(t, "", t.TempDir(), "--config", config, "--listen", network+":"+us, "--rules", "none", "--filter", "off", "--metrics", "off")
		for _, c := range []struct{ name, caller, callee string }{
			{"an answered call", "plain-caller", "plain-callee"},
			{"hold by re-INVITE", "hold-caller", "hold-callee"},
			{"T.38 by re-INVITE of the callee", "fax-caller", "fax-callee"},
			{"video", "video-caller", "video-callee"},
			{"PRACK", "prack-caller", "prack-callee"},
			{"CANCEL that crosses the 200", "crossing-caller", "plain-callee"},
			{"200 after CANCEL", "late-caller", "late-callee"},
		} {
			t.Run(network+"/"+c.name, func(t *testing.T) {
				tcp := network == "tcp"
				wait := sipp{scenario: "agents/" + c.callee, local: addr("127.0.0.1", callee), tcp: tcp}.background(t, nil)
				r := sipp{scenario: "agents/" + c.caller, local: addr("127.0.0.1", freePort(t)), remote: us, tcp: tcp}.run(t, nil)
				must(t, "the callee", wait())
				must(t, "the caller", r)
			})
		}
	}
}

// TestForkedAnswers has two phones of one user answer the same call: both 200
// reach the caller, who has two calls then (RFC 3261 section 13.2.2.4).
func TestForkedAnswers(t *testing.T) {
	needs(t, "sipp")
	dir, us := t.TempDir(), addr("127.0.0.1", freePort(t))
	if err := writeFile(filepath.Join(dir, "ringfence.yaml"), "guards: {auth: {algorithms: [MD5]}}\n"); err != nil { // what sipp can answer
		t.Fatal(err)
	}
	start(t, "", dir, "--config", filepath.Join(dir, "ringfence.yaml"), "--listen", "udp:"+us, "--account", "alice:secret-a", "--account", "bob:secret-b",
		"--realm", "ringfence", "--filter", "off", "--metrics", "off")
	quick, slow := addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t))
	for _, phone := range []string{quick, slow} {
		must(t, "bob registers "+phone, sipp{scenario: "register", local: phone, remote: us, user: "bob", password: "secret-b"}.run(t, nil))
	}
	first := sipp{scenario: "agents/plain-callee", local: quick, user: "bob"}.background(t, nil)
	second := sipp{scenario: "agents/slow-phone", local: slow, user: "bob"}.background(t, nil)
	caller := sipp{scenario: "agents/forked-caller", local: addr("127.0.0.1", freePort(t)), remote: us, user: "alice", password: "secret-a", to: "bob"}.run(t, nil)
	must(t, "the caller", caller)
	must(t, "the slow phone", second())
	must(t, "the quick phone", first())
	must(t, "the caller", caller)
}
