package proxy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the dialogues of testdata again")

// TestDialogues plays testdata/*.txtar and compares every byte that is sent.
// Their comment names hosts and settings, one to a line. A file is a step:
//
//	> alice            alice sends this message
//	> pbx 180          pbx answers the last request it got, with these header lines
//	> alice ACK        alice sends the ACK or CANCEL of her last INVITE
//	> alice BYE 2      alice sends a request with this CSeq within her dialog
//	wait 600ms         nothing but time goes by
//	< pbx              pbx gets this message
//
// What is random has a number in braces, by the order in which it was seen.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, file) })
		})
	}
}

func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	script := txtar.Parse(text)
	hosts, setup := settings(t, string(script.Comment))
	l := newLab(t, hosts, setup)
	out := &txtar.Archive{Comment: script.Comment}
	for _, step := range script.Files {
		if strings.HasPrefix(step.Name, "<") {
			continue
		}
		out.Files = append(out.Files, step)
		l.step(step)
		for _, s := range l.got() {
			name := l.nameOf(s.flow.Remote)
			out.Files = append(out.Files, txtar.File{
				Name: "< " + name, Data: []byte(strings.ReplaceAll(l.names.plain(s.msg), "\r\n", "\n")),
			})
			if strings.HasPrefix(s.msg, "INVITE") || strings.HasPrefix(s.msg, "SIP/2.0 2") && strings.Contains(s.msg, " INVITE\r\n") {
				l.keep(name)
			}
		}
	}
	have := txtar.Format(out)
	if *update {
		if err := os.WriteFile(file, have, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), string(have)); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func (l *lab) step(step txtar.File) {
	l.t.Helper()
	words := strings.Fields(step.Name)
	if words[0] == "wait" {
		d, err := time.ParseDuration(words[1])
		if err != nil {
			l.t.Fatal(err)
		}
		time.Sleep(d)
		synctest.Wait()
		return
	}
	var status, cseq int
	switch {
	case len(words) == 2:
		if strings.HasPrefix(string(step.Data), "INVITE") {
			l.last[words[1]+" invite"] = l.names.real(wired(string(step.Data)))
		}
		l.send(words[1], string(step.Data))
	case len(words) == 4:
		if _, err := fmt.Sscan(words[3], &cseq); err != nil {
			l.t.Fatal(err)
		}
		l.within(words[1], words[2], cseq, string(step.Data))
	case words[2] == "ACK", words[2] == "CANCEL":
		l.hop(words[1], words[2])
	default:
		if _, err := fmt.Sscan(words[2], &status); err != nil {
			l.t.Fatal(err)
		}
		l.answer(words[1], status, l.names.real(string(step.Data)))
	}
}

func settings(t *testing.T, comment string) (map[string]string, func(*Config, *Options)) {
	hosts := map[string]string{}
	var set []func(*Config, *Options)
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, " = ")
		switch {
		case !ok:
		case key == "register" && value == "path":
			set = append(set, func(c *Config, _ *Options) { c.Register = RegisterPath })
		case key == "register" && value == "contact":
			set = append(set, func(c *Config, _ *Options) { c.Register = RegisterContact })
		case key == "source":
			set = append(set, func(c *Config, _ *Options) { c.SourceHeader = value })
		case key == "advertise":
			set = append(set, func(c *Config, _ *Options) { c.Listeners[0].Advertise = value })
		case key == "challenger":
			set = append(set, func(_ *Config, o *Options) { o.Challenger = fakeChallenger{} })
		case key == "egress":
			set = append(set, func(c *Config, _ *Options) { c.Egress = true })
		case strings.HasPrefix(key, "host "):
			hosts[strings.TrimPrefix(key, "host ")] = value
		default:
			t.Fatalf("no setting is called %q", key)
		}
	}
	return hosts, func(c *Config, o *Options) {
		for _, f := range set {
			f(c, o)
		}
	}
}
