package transaction

import "sync/atomic"

// sizes are the lengths of the buffers that are kept for use again; a longer
// message gets one for itself.
var sizes = [...]int{512, 1024, 2048, 4096, 8192}

// buffers keeps copies of messages in memory that is used again and again.
type buffers struct {
	free [len(sizes)][][]byte
	idle int

	held  *atomic.Int64 // octets in use in all shards, without what is not told yet
	delta int           // octets that were taken or given back since it was told
}

// tell is how many octets of a shard may go untold, so that the shards do not
// fight over one counter for each message.
const tell = 64 << 10

func (b *buffers) count(n int) {
	if b.delta += n; b.delta >= tell || b.delta <= -tell {
		b.held.Add(int64(b.delta))
		b.delta = 0
	}
}

// keep copies msg. The copy is given back with drop.
func (b *buffers) keep(msg []byte) []byte {
	for class, size := range sizes {
		if len(msg) > size {
			continue
		}
		b.count(size)
		if n := len(b.free[class]); n > 0 {
			buf := b.free[class][n-1]
			b.free[class] = b.free[class][:n-1]
			return append(buf, msg...)
		}
		return append(make([]byte, 0, size), msg...)
	}
	long := append([]byte(nil), msg...)
	b.count(cap(long))
	return long
}

// drop takes a copy back and leaves nil in its place.
func (b *buffers) drop(buf *[]byte) {
	old := *buf
	*buf = nil
	b.count(-cap(old))
	for class, size := range sizes {
		if cap(old) == size && len(b.free[class]) < b.idle {
			b.free[class] = append(b.free[class], old[:0])
			return
		}
	}
}
