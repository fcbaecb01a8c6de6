package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Support is what this host has for the filter.
type Support struct {
	Kernel  string   // its release
	Missing []string // capabilities that the process lacks
}

// Probe tells whether the filter can be loaded here, and if not, what is missing.
func Probe() (Support, error) {
	var s Support
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return s, fmt.Errorf("read the kernel's release: %w", err)
	}
	s.Kernel = unix.ByteSliceToString(u.Release[:])
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return s, fmt.Errorf("read the process's capabilities: %w", err)
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if !has(c.bit) && (c.bit == unix.CAP_NET_ADMIN || !has(unix.CAP_SYS_ADMIN)) {
			s.Missing = append(s.Missing, c.name)
		}
	}
	if s.Missing != nil {
		return s, fmt.Errorf("the kernel filter needs %s: run as root, or grant it with AmbientCapabilities", strings.Join(s.Missing, ", "))
	}
	if err := features.HaveProgramHelper(ebpf.XDP, asm.FnXdpLoadBytes); errors.Is(err, ebpf.ErrNotSupported) {
		return s, fmt.Errorf("the kernel filter needs Linux 5.18 or later, this is %s", s.Kernel)
	} else if err != nil {
		return s, fmt.Errorf("ask the kernel for XDP: %w", err)
	}
	return s, nil
}
