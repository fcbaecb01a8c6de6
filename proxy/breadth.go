package proxy

import (
	"strconv"

	"ringfence/proxy/index"
)

// Two addresses of record that fork to each other double a request at each turn,
// and Max-Forwards alone would let it grow to 2^70. Max-Breadth bounds how many
// branches there are at one time in all (RFC 5393 section 5).

// defaultBreadth is that of a request that names none (section 5.3.3.1).
const defaultBreadth = 60

// breadth shares the Max-Breadth of a request among its targets. It returns what
// to answer when there is not enough for all of them, or no number.
func breadth(m *index.Message, targets []target) (status int) {
	all, named := defaultBreadth, m.Count(index.MaxBreadthName) > 0
	if named {
		n, ok := m.Number(m.Value(index.MaxBreadthName))
		if !ok {
			return 400
		}
		all = n
	}
	if all < len(targets) {
		return 440
	}
	if len(targets) < 2 {
		return 0 // it leaves as it came
	}
	for i := range targets {
		targets[i].breadth = all / len(targets)
		if i < all%len(targets) {
			targets[i].breadth++
		}
	}
	return 0
}

// writeBreadth puts the share of a target into its request.
func (w *worker) writeBreadth(m *index.Message, t *target, top uint16) {
	if t.breadth == 0 {
		return
	}
	at := len(w.text)
	if h, ok := m.First(index.MaxBreadthName); ok {
		w.text = strconv.AppendInt(w.text, int64(t.breadth), 10)
		w.splice.Replace(h.Value, w.from(at))
		return
	}
	w.text = append(w.text, "Max-Breadth: "...)
	w.text = strconv.AppendInt(w.text, int64(t.breadth), 10)
	w.text = append(w.text, crlf...)
	w.splice.Insert(top, w.from(at))
}
