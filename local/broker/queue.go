package broker

import "sync"

// keepInMemory is how many waiting records a queue holds; of more it keeps the
// sequence numbers alone, and reads them again when their turn comes.
const keepInMemory = 256

// item is one delivery to be made. record is nil if it must be read first.
type item struct {
	sequence uint64
	record   *record
}

// queue runs one Trigger's deliveries, oldest first, up to a bound at a time.
// It has no goroutine while there is nothing to deliver.
type queue struct {
	deliver func(item)
	bound   int

	mu      sync.Mutex
	waiting []item
	active  int
	running bool
	ended   sync.WaitGroup
}

func newQueue(bound int, deliver func(item)) *queue {
	return &queue{bound: bound, deliver: deliver}
}

// push adds a delivery.
func (q *queue) push(next item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running && q.active < q.bound {
		q.begin(next)
		return
	}
	if len(q.waiting) >= keepInMemory {
		next.record = nil
	}
	q.waiting = append(q.waiting, next)
}

// start begins deliveries.
func (q *queue) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = true
	for len(q.waiting) > 0 && q.active < q.bound {
		q.begin(q.pop())
	}
}

// stop begins no more deliveries. Those under way go on; see wait.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = false
}

// wait returns when no delivery is under way. Call stop before.
func (q *queue) wait() { q.ended.Wait() }

// begin starts a goroutine for a delivery, and for those that follow it. The
// caller holds the lock.
func (q *queue) begin(first item) {
	q.active++
	q.ended.Go(func() {
		for next, ok := first, true; ok; next, ok = q.next() {
			q.deliver(next)
		}
	})
}

func (q *queue) next() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running || len(q.waiting) == 0 {
		q.active--
		return item{}, false
	}
	return q.pop(), true
}

func (q *queue) pop() item {
	first := q.waiting[0]
	// Let go of the record now: the array behind the slice lives on.
	q.waiting[0] = item{}
	q.waiting = q.waiting[1:]
	return first
}
