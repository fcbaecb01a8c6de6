package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A baresip is a softphone without sound that is told what to do over a TCP
// connection.
type baresip struct {
	t      *testing.T
	user   string
	told   net.Conn
	events chan string
	log    *lockedBuffer
}

// startBaresip starts one that registers as user at server ("127.0.0.1:5060")
// over a transport and waits until it is registered.
func startBaresip(t *testing.T, user, password, server, transport, ca string) *baresip {
	t.Helper()
	needs(t, "baresip")
	dir := t.TempDir()
	control := freePort(t)
	config := strings.Join([]string{
		"sip_listen 127.0.0.1:" + itoa(freePort(t)), "sip_cafile " + ca, "module_path /usr/lib/baresip/modules",
		"module g711.so", "net_interface 127.0.0.1",
		"module_app account.so", "module_app menu.so", "module_app ctrl_tcp.so",
		"ctrl_tcp_listen 127.0.0.1:" + itoa(control),
	}, "\n") + "\n"
	account := fmt.Sprintf("<sip:%[1]s@%[3]s;transport=%[4]s>;auth_user=%[1]s;auth_pass=%[2]s;outbound=\"sip:%[3]s;transport=%[4]s\";regint=60\n", user, password, server, transport)
	for name, text := range map[string]string{"config": config, "accounts": account} {
		if err := writeFile(filepath.Join(dir, name), text); err != nil {
			t.Fatal(err)
		}
	}
	b := &baresip{t: t, user: user, events: make(chan string, 256), log: new(lockedBuffer)}
	cmd := exec.Command("baresip", "-f", dir, "-v", "-s")
	cmd.Stdout, cmd.Stderr = b.log, b.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s saw:\n%s", user, tail(b.log.String(), 4000))
		}
	})
	eventually(t, user+" takes commands", func() (ok bool) {
		var err error
		b.told, err = net.Dial("tcp", addr("127.0.0.1", control))
		return err == nil
	})
	t.Cleanup(func() { b.told.Close() })
	go b.listen()
	eventually(t, user+" is registered", func() bool {
		log := b.log.String()
		return strings.Contains(log, "200 OK") && strings.Contains(log, "REGISTER")
	})
	return b
}

// listen reads netstrings with an event each.
func (b *baresip) listen() {
	for r := bufio.NewReader(b.told); ; {
		head, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimRight(head, ":"))
		if err != nil {
			return
		}
		text := make([]byte, n+1)
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		var e struct{ Type, Param string }
		if json.Unmarshal(text[:n], &e) == nil && e.Type != "" {
			b.events <- e.Type
		}
	}
}

func (b *baresip) tell(command, params string) {
	b.t.Helper()
	text, err := json.Marshal(map[string]string{"command": command, "params": params})
	if err == nil {
		_, err = fmt.Fprintf(b.told, "%d:%s,", len(text), text)
	}
	if err != nil {
		b.t.Fatalf("%s: %v", b.user, err)
	}
}

// await waits for an event.
func (b *baresip) await(event string) {
	b.t.Helper()
	limit := time.After(20 * time.Second)
	var seen []string
	for {
		select {
		case e := <-b.events:
			if e == event {
				return
			}
			seen = append(seen, e)
		case <-limit:
			b.t.Fatalf("%s never saw %s, only %v", b.user, event, seen)
		}
	}
}

// TestBaresip lets two softphones talk over every transport.
func TestBaresip(t *testing.T) {
	needs(t, "baresip")
	plain, secure := freePort(t), freePort(t)
	state := t.TempDir()
	d := start(t, "", state, "--config", writeConfig(t, fmt.Sprintf("version: 1\n"+
		"listen:\n"+
		"  - {transport: udp, address: \"127.0.0.1:%[1]d\"}\n"+
		"  - {transport: tcp, address: \"127.0.0.1:%[1]d\"}\n"+
		"  - {transport: tls, address: \"127.0.0.1:%[2]d\"}\n"+
		"location: {enabled: true}\n"+
		"guards: {auth: {realm: ringfence, algorithms: [MD5]}}\n"+ // Debian 12's gives up when it reads of another
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n", plain, secure)),
		"--account", "alice:secret-a", "--account", "bob:secret-b")
	ca := filepath.Join(state, "tls", "self.crt")
	if _, err := os.Stat(ca); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			server := addr("127.0.0.1", plain)
			if transport == "tls" {
				server = addr("127.0.0.1", secure)
			}
			alice := startBaresip(t, "alice", "secret-a", server, transport, ca)
			bob := startBaresip(t, "bob", "secret-b", server, transport, ca)
			alice.tell("dial", "sip:bob@"+server)
			bob.await("CALL_INCOMING")
			bob.tell("accept", "")
			alice.await("CALL_ESTABLISHED")
			bob.await("CALL_ESTABLISHED")
			var up []struct{ State, Account string }
			d.table(&up, "calls")
			if len(up) != 1 || up[0].State != "answered" || up[0].Account != "alice@ringfence" {
				t.Errorf("calls shows %+v", up)
			}
			bob.tell("hangup", "") // the callee: its BYE must find the caller
			alice.await("CALL_CLOSED")
			eventually(t, "the call is over", func() bool {
				d.table(&up, "calls")
				return len(up) == 0
			})
		})
	}
}
