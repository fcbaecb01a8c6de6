package transaction

// sizes are the lengths of the buffers that are kept for use again; a longer
// message gets one for itself.
var sizes = [...]int{512, 1024, 2048, 4096, 8192}

// buffers keeps copies of messages in memory that is used again and again.
type buffers struct {
	free [len(sizes)][][]byte
	idle int
}

// keep copies msg. The copy is given back with drop.
func (b *buffers) keep(msg []byte) []byte {
	for class, size := range sizes {
		if len(msg) > size {
			continue
		}
		if n := len(b.free[class]); n > 0 {
			buf := b.free[class][n-1]
			b.free[class] = b.free[class][:n-1]
			return append(buf, msg...)
		}
		return append(make([]byte, 0, size), msg...)
	}
	return append([]byte(nil), msg...)
}

// drop takes a copy back and leaves nil in its place.
func (b *buffers) drop(buf *[]byte) {
	old := *buf
	*buf = nil
	for class, size := range sizes {
		if cap(old) == size && len(b.free[class]) < b.idle {
			b.free[class] = append(b.free[class], old[:0])
			return
		}
	}
}
