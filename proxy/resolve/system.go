package resolve

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// reread is how often the files of the system are looked at again.
const reread = 5 * time.Second

// mostHosts is how much of the hosts file is read, in bytes.
const mostHosts = 1 << 20

// A system is what this machine says of names: resolv.conf(5) and hosts(5).
type system struct {
	fixed             []netip.AddrPort // servers of the settings; then resolv.conf is not read
	resolvConf, hosts string
	first             atomic.Int32 // number of the server that answered last

	mu     sync.Mutex
	looked time.Time    // guarded by mu
	times  [2]time.Time // guarded by mu; when the files were written
	view   *view        // guarded by mu; nil before the first look
}

// A view is one state of the files. It is immutable.
type view struct {
	servers []netip.AddrPort
	search  *dns.ClientConfig
	hosts   map[string][]netip.Addr
}

func newSystem(o *Options) *system {
	return &system{fixed: o.Servers, resolvConf: o.ResolvConf, hosts: o.Hosts}
}

// read is what the files say; they are read again when they have changed.
func (s *system) read(now time.Time) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view != nil && now.Sub(s.looked) < reread {
		return s.view
	}
	s.looked = now
	times := [2]time.Time{written(s.resolvConf), written(s.hosts)}
	if s.view != nil && times == s.times {
		return s.view
	}
	v := &view{servers: s.fixed, search: new(dns.ClientConfig), hosts: readHosts(s.hosts)}
	if len(s.fixed) == 0 {
		v.readServers(s.resolvConf)
	}
	s.times, s.view = times, v
	return v
}

func written(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{} // it is not there, which is allowed
	}
	return info.ModTime()
}

// mostServers is how many servers of resolv.conf are asked, as resolv.conf(5)
// has it.
const mostServers = 3

func (v *view) readServers(path string) {
	c, err := dns.ClientConfigFromFile(path)
	if err == nil {
		v.search = c
		for _, text := range c.Servers {
			if a, err := netip.ParseAddr(text); err == nil && len(v.servers) < mostServers {
				v.servers = append(v.servers, netip.AddrPortFrom(a, 53))
			}
		}
	}
	if len(v.servers) == 0 { // resolv.conf(5): the default is the name server on the local machine
		v.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
}

// names are what a name may stand for on this network.
func (v *view) names(name string) []string {
	var out []string
	for _, n := range v.search.NameList(name) {
		out = append(out, canonical(n))
	}
	return out
}

// readHosts reads a hosts file; lines that make no sense are left out.
func readHosts(path string) map[string][]netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil // it is not there, which is allowed
	}
	defer f.Close()
	hosts := map[string][]netip.Addr{}
	lines := bufio.NewScanner(io.LimitReader(f, mostHosts))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			hosts[canonical(name)] = append(hosts[canonical(name)], a.Unmap())
		}
	}
	return hosts
}
