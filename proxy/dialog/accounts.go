package dialog

import "sync"

// accounts counts the calls of each account. It holds no account without a call,
// so the ceiling of calls bounds it.
type accounts struct {
	mu  sync.RWMutex
	up  map[string]int
	all int
}

func (a *accounts) add(account string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all += n
	if account == "" {
		return
	}
	if a.up[account] += n; a.up[account] <= 0 {
		delete(a.up, account)
	}
}

func (a *accounts) count(account string) int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.up[account]
}

func (a *accounts) total() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.all
}
