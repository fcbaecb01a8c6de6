package numbers

import "ringfence/guard"

// byCost orders the kinds of numbers from the cheapest to the dearest.
var byCost = [...]string{"", "toll-free", "short", "fixed", "mobile", "voip", "unknown", "shared", "international", "satellite", "premium"}

// costly is the first kind that nobody calls by mistake.
const costly = "shared"

func cost(kind string) int {
	for i, k := range byCost {
		if k == kind {
			return i
		}
	}
	return 0
}

// worst is the number that a text is taken for: of several readings the one that
// costs most, and of those the first.
func (r *readings) worst(plan guard.Numbers) string {
	best := r.all[0].number()
	if r.n == 1 {
		return string(best)
	}
	if plan == nil {
		for i := 1; i < r.n && len(best) == 0; i++ {
			if r.all[i].firm {
				best = r.all[i].number()
			}
		}
		return string(best)
	}
	most := 0
	if len(best) > 0 {
		most = cost(kindOf(plan, string(best)))
	}
	for i := 1; i < r.n; i++ {
		x := &r.all[i]
		c := cost(kindOf(plan, string(x.number())))
		if c > most && (x.firm || c >= cost(costly)) {
			best, most = x.number(), c
		}
	}
	return string(best)
}

func kindOf(plan guard.Numbers, number string) string {
	n, found := plan.Lookup(number)
	if !found {
		return "unknown"
	}
	return n.Kind
}
