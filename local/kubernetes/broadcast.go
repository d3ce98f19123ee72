package kubernetes

import (
	"slices"
	"sync"
)

const (
	// historyLength is how many changes a watch may lie behind and still be resumed.
	historyLength = 1024
	// subscriberBuffer is how many changes a slow watcher may lag before it is cut off; it then lists and watches anew.
	subscriberBuffer = 256
)

// broadcast hands committed changes to watchers and remembers the newest, so that a watch can go on from where a list
// or an earlier watch ended.
type broadcast struct {
	mu          sync.Mutex
	history     []change
	forgotten   uint64 // the highest version that is no longer in history
	subscribers map[chan change]bool
	closed      bool
}

// newBroadcast starts with no history: what was written up to version is forgotten.
func newBroadcast(version uint64) *broadcast {
	return &broadcast{forgotten: version, subscribers: map[chan change]bool{}}
}

func (b *broadcast) send(changes []change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range changes {
		b.remember(c)
		for subscriber := range b.subscribers {
			select {
			case subscriber <- c:
			default:
				b.drop(subscriber)
			}
		}
	}
}

func (b *broadcast) remember(c change) {
	b.history = append(b.history, c)
	if len(b.history) < 2*historyLength {
		return
	}
	cut := len(b.history) - historyLength
	b.forgotten = b.history[cut-1].version
	b.history = slices.Clone(b.history[cut:])
}

// subscribe returns the changes after version and a channel of those to come, which is closed when the subscriber lags
// too far or the store closes. It reports false when changes after version are forgotten already.
func (b *broadcast) subscribe(version uint64) (missed []change, next chan change, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if version < b.forgotten {
		return nil, nil, false
	}
	for _, c := range b.history {
		if c.version > version {
			missed = append(missed, c)
		}
	}
	next = make(chan change, subscriberBuffer)
	if b.closed {
		close(next)
	} else {
		b.subscribers[next] = true
	}
	return missed, next, true
}

func (b *broadcast) unsubscribe(subscriber chan change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(subscriber)
}

func (b *broadcast) drop(subscriber chan change) {
	if b.subscribers[subscriber] {
		delete(b.subscribers, subscriber)
		close(subscriber)
	}
}

func (b *broadcast) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for subscriber := range b.subscribers {
		b.drop(subscriber)
	}
}
