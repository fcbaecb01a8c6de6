package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Attach puts the program on an interface and returns the mode that it got. An
// interface where an earlier process left it pinned has its program swapped in
// one step, with no packet unscreened; it keeps its mode unless m asks for
// another. The error says who holds the interface when it is not ours.
func (s *Screen) Attach(iface string, m Mode) (Mode, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nic, err := net.InterfaceByName(iface)
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", iface, err)
	}
	if got, ok := s.swap(nic, m); ok {
		return got, nil
	}
	var modes []Mode
	switch m {
	case Native, Generic:
		modes = []Mode{m}
	case Auto, "":
		modes = []Mode{Native, Generic}
	default:
		return "", fmt.Errorf("attach to %s: mode %q: want auto, native or generic", iface, m)
	}
	for _, mode := range modes {
		// Without a flag the kernel chooses generic where native does not go, and
		// says nothing.
		flags := link.XDPDriverMode
		if mode == Generic {
			flags = link.XDPGenericMode
		}
		l, e := link.AttachXDP(link.XDPOptions{Program: s.objects.Screen, Interface: nic.Index, Flags: flags})
		if e == nil {
			return mode, s.keep(iface, l)
		}
		err = e
		if errors.Is(e, unix.EBUSY) || errors.Is(e, unix.EEXIST) {
			return "", fmt.Errorf("attach to %s: %s holds it: detach that first, or guard another interface: %w", iface, holder(nic), e)
		}
	}
	if m == Native {
		return "", fmt.Errorf("attach to %s: its driver refuses native XDP, try generic: %w", iface, err)
	}
	return "", fmt.Errorf("attach to %s: %w", iface, err)
}

// swap gives a link that is there already our program.
func (s *Screen) swap(nic *net.Interface, m Mode) (Mode, bool) {
	l := s.links[nic.Name]
	if l == nil && s.dir != "" {
		l, _ = link.LoadPinnedLink(s.linkPin(nic.Name), nil) // none, or not a link: attach anew
	}
	if l == nil {
		return "", false
	}
	mode := attached(nic)
	info, err := l.Info()
	ours := err == nil && info.XDP() != nil && int(info.XDP().Ifindex) == nic.Index
	if ours && (m == mode || m == Auto || m == "") && l.Update(s.objects.Screen) == nil {
		s.links[nic.Name] = l
		return mode, true
	}
	// Of an interface that is gone, or of the other mode.
	delete(s.links, nic.Name)
	_ = errors.Join(l.Detach(), l.Unpin(), l.Close()) // attaching will tell if it is still held
	return "", false
}

func (s *Screen) keep(iface string, l link.Link) error {
	if s.dir != "" {
		pin := s.linkPin(iface)
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(fmt.Errorf("pin the link of %s: %w", iface, err), l.Close())
		}
		if err := l.Pin(pin); err != nil {
			return errors.Join(fmt.Errorf("pin the link of %s: %w", iface, err), l.Close())
		}
	}
	s.links[iface] = l
	return nil
}

func attached(nic *net.Interface) Mode {
	if l, err := netlink.LinkByIndex(nic.Index); err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.AttachMode == 2 { // XDP_ATTACHED_SKB
		return Generic
	}
	return Native
}

func holder(nic *net.Interface) string {
	l, err := netlink.LinkByIndex(nic.Index)
	if err != nil || l.Attrs().Xdp == nil {
		return "another XDP program"
	}
	id := l.Attrs().Xdp.ProgId
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return fmt.Sprintf("XDP program %d", id)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return fmt.Sprintf("XDP program %d", id)
	}
	return fmt.Sprintf("XDP program %d (%s)", id, info.Name)
}
