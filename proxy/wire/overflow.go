package wire

import "sync"

// An overflow is how many datagrams the kernel has dropped at a socket, most of them
// because its buffer was full. The kernel counts in 32 bits and from when the socket
// was opened, which may have been by another process.
type overflow struct {
	mu    sync.Mutex
	last  uint32 // what the kernel said last; guarded by mu
	total uint64 // guarded by mu
}

// read asks the kernel and gives the sum; the sum of before where it does not say.
func (o *overflow) read(s *packetSocket) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, ok := s.kernelDrops(); ok {
		o.add(n)
	}
	return o.total
}

// add takes what the kernel says now; mu is held.
func (o *overflow) add(n uint32) {
	o.total += uint64(n - o.last) // also over the end of 32 bits
	o.last = n
}
