package wire

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ringfence/guard"
)

// A mmsghdr is struct mmsghdr of recvmmsg(2). Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// controlSize has room for one IPV6_PKTINFO, the larger of the two.
const controlSize = 64

// prepare sets the options of a socket that is not bound yet.
func (s *packetSocket) prepare(fd int, shared bool, limits Limits) error {
	// Above net.core.rmem_max only a privileged process gets what it asks for; a
	// smaller buffer is no reason not to serve.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, limits.ReceiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, limits.ReceiveBuffer)
	}
	if shared {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("share the address among sockets: %w", err)
		}
	}
	if !s.any {
		return nil
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == nil && domain == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	} else if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err != nil {
		return fmt.Errorf("ask for the address that datagrams came to: %w", err)
	}
	return nil
}

// The counters that SO_MEMINFO gives, linux/sock_diag.h, and the place of drops.
const (
	memInfos    = 9
	memInfoDrop = 8
)

// kernelDrops is how many datagrams the kernel has dropped at the socket, modulo 2^32.
func (s *packetSocket) kernelDrops() (n uint32, ok bool) {
	var all [memInfos]uint32
	err := s.raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(all))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&all[0])), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size == uint32(unsafe.Sizeof(all))
	})
	return all[memInfoDrop], ok && err == nil
}

// A receiver takes batches of datagrams from one socket. All its memory is made
// once. The kernel writes where the headers point, which Go's collector does
// not move.
type receiver struct {
	socket  *packetSocket
	size    int
	buffer  []byte
	control []byte
	names   []unix.RawSockaddrInet6 // large enough for both families
	iovecs  []unix.Iovec
	headers []mmsghdr
	n       int // of the last call
	errno   syscall.Errno
	call    func(fd uintptr) bool // made once: a closure for each call would be an allocation
	look    func(fd uintptr)
	poll    []unix.PollFd
	patient unix.Timespec
}

func newReceiver(s *packetSocket, limits Limits) *receiver {
	k := limits.Batch
	r := &receiver{
		socket: s, size: limits.Datagram, buffer: make([]byte, k*limits.Datagram), control: make([]byte, k*controlSize),
		names: make([]unix.RawSockaddrInet6, k), iovecs: make([]unix.Iovec, k), headers: make([]mmsghdr, k),
	}
	for i := range r.headers {
		r.iovecs[i].Base = &r.buffer[i*r.size]
		r.iovecs[i].SetLen(r.size)
		h := &r.headers[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		if s.any {
			h.Control = &r.control[i*controlSize]
		}
	}
	r.call, r.look, r.poll = r.recvmmsg, r.watch, make([]unix.PollFd, 1)
	r.n = k
	return r
}

// receive waits for datagrams and tells how many there are. Of a busy socket
// the next one is waited for here, in the kernel, for a little while.
func (r *receiver) receive(busy bool) (int, error) {
	for i := range r.n { // the others are as they were
		h := &r.headers[i].hdr
		h.Namelen, h.Flags = unix.SizeofSockaddrInet6, 0
		if r.socket.any {
			h.SetControllen(controlSize)
		}
	}
	r.n, r.errno = 0, 0
	if busy {
		runtime.Gosched() // what the last batch has woken comes first
		if err := r.socket.raw.Control(r.look); err != nil {
			return 0, err
		}
	}
	if r.n == 0 && r.errno == 0 {
		if err := r.socket.raw.Read(r.call); err != nil {
			return 0, err
		}
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.n, nil
}

// The runtime's poller costs a wait of its own, a way through the scheduler and
// often a wake-up of another thread: for one datagram three times what receiving
// it costs. A busy reader therefore waits in ppoll(2) while it holds its place
// in the scheduler. Whoever shares that place waits too, and for no longer than
// this: at the end of a burst, once, since a busy socket has its next datagram
// within busyGap and a watch in vain gives the place back. It is longer than a
// tick of the kernel (4 ms at 250 Hz), because a timer that is the next to
// expire has to be programmed into the hardware and one that is not is free:
// measured, that is a sixth of all that a call costs.
const watch = 10 * time.Millisecond

// watch waits until there is something to receive, and receives it.
func (r *receiver) watch(fd uintptr) {
	r.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	r.patient = unix.NsecToTimespec(int64(watch)) // the kernel writes into it
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&r.poll[0])), 1, uintptr(unsafe.Pointer(&r.patient)), 0, 0, 0)
	if int(n) == 1 {
		r.recvmmsg(fd)
	}
}

// recvmmsg is false when there is nothing yet: the runtime's poller then waits.
// It never blocks, so the scheduler need not be told of it.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
			uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			r.n, r.errno = int(n), 0
		default:
			r.n, r.errno = 0, errno
		}
		return true
	}
}

func (r *receiver) datagram(i int) datagram {
	h := &r.headers[i]
	n := min(int(h.n), r.size)
	d := datagram{
		payload: r.buffer[i*r.size:][:n:n],
		remote:  fromSockaddr(&r.names[i]),
		local:   r.socket.local,
		cut:     h.hdr.Flags&unix.MSG_TRUNC != 0,
	}
	if r.socket.any {
		if a := packetInfo(r.control[i*controlSize:][:h.hdr.Controllen]); a.IsValid() {
			d.local = netip.AddrPortFrom(a, d.local.Port())
		}
	}
	return d
}

// packetInfo is the address that a datagram came to, ip(7) and RFC 3542 section
// 6.2; the zero one if the kernel did not tell.
func packetInfo(control []byte) netip.Addr {
	if len(control) < unix.CmsgLen(unix.SizeofInet4Pktinfo) {
		return netip.Addr{}
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	data := control[unix.CmsgLen(0):]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
		return netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Addr)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
		return withScope(netip.AddrFrom16(info.Addr).Unmap(), info.Ifindex)
	}
	return netip.Addr{}
}

// withScope names the interface of a link-local address, RFC 4007 section 11.
func withScope(a netip.Addr, ifindex uint32) netip.Addr {
	if ifindex == 0 || !a.Is6() || !a.IsLinkLocalUnicast() {
		return a
	}
	return a.WithZone(strconv.Itoa(int(ifindex)))
}

func scope(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}

func fromSockaddr(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) // the same place in both families
	p := uint16(port[0])<<8 | uint16(port[1])
	if sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), p)
	}
	return netip.AddrPortFrom(withScope(netip.AddrFrom16(sa.Addr).Unmap(), sa.Scope_id), p)
}

// toSockaddr writes an address for a socket of either family and returns its length.
func toSockaddr(sa *unix.RawSockaddrInet6, to netip.AddrPort, six bool) uint32 {
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port[0], port[1] = byte(to.Port()>>8), byte(to.Port())
	if six {
		sa.Addr, sa.Scope_id = to.Addr().As16(), scope(to.Addr())
		return unix.SizeofSockaddrInet6
	}
	sa.Family = unix.AF_INET
	(*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr = to.Addr().Unmap().As4()
	return unix.SizeofSockaddrInet4
}

// A ring holds the datagrams that one worker sends together. It is bounded: when
// it is full, what is in it goes out first.
type ring struct {
	count   *counters
	arena   []byte
	used    int
	sockets []*packetSocket // of each datagram
	names   []unix.RawSockaddrInet6
	control []byte
	iovecs  []unix.Iovec
	headers []mmsghdr
	waiting int

	// of the call at hand
	first, last int
	sent        int
	errno       syscall.Errno
	call        func(fd uintptr)
	poll        []unix.PollFd
}

const (
	ringDatagrams = 128
	ringOctets    = 128 << 10 // never less than the longest datagram
)

func newRing(w *Wire) *ring {
	r := &ring{
		count: &w.count, arena: make([]byte, ringOctets), sockets: make([]*packetSocket, ringDatagrams),
		names: make([]unix.RawSockaddrInet6, ringDatagrams), control: make([]byte, ringDatagrams*controlSize),
		iovecs: make([]unix.Iovec, ringDatagrams), headers: make([]mmsghdr, ringDatagrams), poll: make([]unix.PollFd, 1),
	}
	for i := range r.headers {
		h := &r.headers[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
	}
	r.call = r.sendmmsg
	return r
}

// add copies a datagram. msg is not longer than maxDatagram.
func (r *ring) add(s *packetSocket, f Flow, msg []byte) {
	if !f.Remote.IsValid() || !s.six && !f.Remote.Addr().Unmap().Is4() {
		r.count.drop(SendFailed)
		return
	}
	if r.waiting == ringDatagrams || r.used+len(msg) > ringOctets {
		_ = r.flush() // what could not be sent is counted
	}
	i := r.waiting
	to := r.arena[r.used:][:len(msg)]
	copy(to, msg)
	r.iovecs[i].Base = unsafe.SliceData(to)
	r.iovecs[i].SetLen(len(msg))
	h := &r.headers[i].hdr
	h.Namelen = toSockaddr(&r.names[i], f.Remote, s.six)
	r.from(h, i, s, f.Local.Addr())
	r.sockets[i] = s
	r.used += len(msg)
	r.waiting++
}

// from makes a datagram leave from the address that its flow came to. Only a
// socket at a wildcard has a choice.
func (r *ring) from(h *unix.Msghdr, i int, s *packetSocket, local netip.Addr) {
	h.Control = nil
	h.SetControllen(0)
	if !s.any || !local.IsValid() || local.IsUnspecified() || !s.six && !local.Unmap().Is4() {
		return
	}
	control := r.control[i*controlSize:][:controlSize]
	clear(control)
	c := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Control = &control[0]
	data := unsafe.Pointer(&control[unix.CmsgLen(0)])
	if s.six {
		c.Level, c.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		c.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		*(*unix.Inet6Pktinfo)(data) = unix.Inet6Pktinfo{Addr: local.As16(), Ifindex: scope(local)}
		h.SetControllen(unix.CmsgSpace(unix.SizeofInet6Pktinfo))
		return
	}
	c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	c.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: local.Unmap().As4()}
	h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
}

// flush sends all that waits, in order, and returns the last error. What it
// could not send is counted and gone.
func (r *ring) flush() error {
	var last error
	for r.first = 0; r.first < r.waiting; r.first = r.last {
		s := r.sockets[r.first]
		for r.last = r.first + 1; r.last < r.waiting && r.sockets[r.last] == s; r.last++ {
		}
		if err := r.send(s); err != nil {
			last = err
		}
	}
	r.waiting, r.used = 0, 0
	return last
}

// sendTries bounds how often a full buffer is waited for, sendWait each time, in
// milliseconds.
const (
	sendTries = 4
	sendWait  = 5
)

// send sends the run of datagrams first to last, which are of one socket.
func (r *ring) send(s *packetSocket) error {
	var last error
	for tries := 0; r.first < r.last; {
		if err := s.raw.Control(r.call); err != nil {
			r.count.dropped[SendFailed].Add(uint64(r.last - r.first))
			return err
		}
		if r.errno == 0 {
			r.count.sent[guard.UDP].Add(uint64(r.sent))
			r.first += r.sent
			continue
		}
		if wait := r.errno == unix.EAGAIN || r.errno == unix.ENOBUFS; wait && tries < sendTries {
			tries++
			r.wait(s)
			continue
		} else if r.errno == unix.ECONNREFUSED && tries < sendTries {
			tries++ // left by an earlier datagram; this one was not tried
			continue
		}
		last = r.errno
		r.count.drop(sendReason(r.errno))
		r.first++
	}
	return last
}

func sendReason(errno syscall.Errno) Reason {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS:
		return SendFull
	case unix.EMSGSIZE:
		return SendTooLong
	}
	return SendFailed
}

// wait waits until the socket takes a datagram, or sendWait. It is not the
// runtime's poller that waits: its deadline is shared by all senders.
func (r *ring) wait(s *packetSocket) {
	_ = s.raw.Control(func(fd uintptr) {
		r.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
		_, _ = unix.Poll(r.poll, sendWait) // the next try tells
	})
}

// sendmmsg sends what is left of the run; errno is that of its first datagram.
func (r *ring) sendmmsg(fd uintptr) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&r.headers[r.first])),
			uintptr(r.last-r.first), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			r.sent, r.errno = int(n), errno
			return
		}
	}
}
