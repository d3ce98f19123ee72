package callback

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/problem"
)

// Turns bounds the requests for actions that one instance carries out at a time:
// one of each task, and so many in all. It is safe for concurrent use.
type Turns struct {
	max int

	mu    sync.Mutex
	tasks map[uuid.UUID]struct{}
	waits map[uuid.UUID]int
}

// maxWaits bounds the requests of one task that wait until what they applied is ready.
const maxWaits = 4

// NewTurns allows so many requests at a time.
func NewTurns(most int) *Turns {
	return &Turns{max: most, tasks: map[uuid.UUID]struct{}{}, waits: map[uuid.UUID]int{}}
}

// Take takes the task's turn, which ends with leave; to leave twice does nothing. It
// fails with problem.ErrRateLimited while the task has it already, and with
// problem.ErrUnavailable while too many others have theirs.
func (t *Turns) Take(task uuid.UUID) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.tasks[task]; taken {
		return nil, problem.ErrRateLimited.With("Another request for actions of this task is being carried out; send one at a time.").
			RetryAfter(time.Second)
	}
	if len(t.tasks) >= t.max {
		return nil, problem.ErrUnavailable.With("%d requests for actions are being carried out, which is the most; try again later.", t.max).
			RetryAfter(time.Second)
	}
	t.tasks[task] = struct{}{}
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.tasks, task)
	}), nil
}

// Wait lets a request of the task wait after its turn, until leave. It fails with problem.ErrRateLimited while too many
// of the task do.
func (t *Turns) Wait(task uuid.UUID) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waits[task] >= maxWaits {
		return nil, problem.ErrRateLimited.With("%d requests of this task wait until what they applied is ready, which is the most.",
			maxWaits).RetryAfter(time.Second)
	}
	t.waits[task]++
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.waits[task]--; t.waits[task] == 0 {
			delete(t.waits, task)
		}
	}), nil
}
