package tests

import (
	"net"
	"os"
	"testing"
	"time"
)

// TestRestartLosesNothing replaces the daemon again and again under a load of
// calls that ring, are answered and end at any moment: its socket stays open
// meanwhile, as systemd keeps it, and no call fails.
func TestRestartLosesNothing(t *testing.T) {
	needs(t, "sipp")
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	server, pbx := socket.LocalAddr().String(), addr("127.0.0.1", freePort(t))
	d := &daemon{t: t, state: t.TempDir(), files: []*os.File{file}, args: []string{
		"--config", writeConfig(t, "version: 1\n"+
			"listen: [{transport: udp, address: \""+server+"\"}]\n"+
			"next_hops: [{name: pbx, address: \""+pbx+"\", probe: -1s}]\n"+
			"screen: {mode: \"off\"}\nmetrics: \"off\"\n"), "--rules", "none",
	}}
	d.launch()
	t.Cleanup(d.stop)

	const calls, rate = 600, 60
	answered := sipp{scenario: "slow", local: pbx, user: "bob", calls: calls}.background(t, nil)
	called := sipp{scenario: "trunk", local: addr("127.0.0.1", freePort(t)), remote: server, user: "caller", to: "bob", calls: calls, rate: rate, talk: time.Second}.background(t, nil)
	for i := range 4 {
		time.Sleep(2 * time.Second)
		if i%2 == 0 {
			d.stop()
		} else {
			d.kill()
		}
		d.launch()
	}
	must(t, "callers see nothing of the restarts", called())
	must(t, "nor do callees", answered())
}
