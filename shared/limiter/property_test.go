package limiter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// wantEmpty checks that nothing but the generation is left in Redis: no slot is counted that nobody holds.
func wantEmpty(t *testing.T, slots *Slots) {
	t.Helper()
	for _, key := range slots.keys[1:] {
		if n, err := slots.redis.(*redis.Client).Exists(t.Context(), key).Result(); err != nil || n != 0 {
			t.Errorf("%s is left over, %v", key, err)
		}
	}
}

func randomTask(number int, random *rand.Rand) Task {
	made := task(number, string(rune('a'+random.IntN(3))))
	made.Priority = random.IntN(3)
	for _, namespace := range []string{"x", "y", "z"} {
		if random.IntN(3) == 0 {
			made.Namespaces = append(made.Namespaces, namespace)
		}
	}
	return made
}

// exceeded names a cap that these tasks, running together, exceed.
func exceeded(running []Task, config SlotsConfig) string {
	counts := map[string]int{}
	for _, task := range running {
		counts["all"]++
		counts["caller "+task.Caller]++
		for _, namespace := range task.Namespaces {
			counts["namespace "+namespace]++
		}
	}
	for name, count := range counts {
		most := config.Global
		if strings.HasPrefix(name, "caller") {
			most = config.PerCaller
		} else if strings.HasPrefix(name, "namespace") {
			most = config.PerNamespace
		}
		if count > most {
			return fmt.Sprintf("%d tasks of %s run, the cap is %d", count, name, most)
		}
	}
	return ""
}

// model is the limiter as a plain list.
type model struct {
	config        SlotsConfig
	waiting, held []Task
}

func (m *model) admit(most int) []string {
	slices.SortFunc(m.waiting, func(a, b Task) int { return strings.Compare(a.order(), b.order()) })
	ids := []string{}
	m.waiting = slices.DeleteFunc(m.waiting, func(task Task) bool {
		if len(ids) == most || exceeded(append(slices.Clone(m.held), task), m.config) != "" {
			return false
		}
		m.held = append(m.held, task)
		ids = append(ids, task.ID)
		return true
	})
	return ids
}

func take(tasks *[]Task, random *rand.Rand) (Task, bool) {
	if len(*tasks) == 0 {
		return Task{}, false
	}
	i := random.IntN(len(*tasks))
	taken := (*tasks)[i]
	*tasks = slices.Delete(*tasks, i, i+1)
	return taken, true
}

// Random operations, one at a time, admit exactly what a plain walk over the sorted list of waiting tasks admits.
func TestAdmitsAsThePlainModelDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			config := SlotsConfig{Global: 8, PerNamespace: 3, PerCaller: 4, LookAhead: 100}
			slots, _ := newSlots(t, config)
			model := &model{config: config}
			for number := range 300 {
				switch random.IntN(5) {
				case 0, 1:
					made := randomTask(number, random)
					model.waiting = append(model.waiting, made)
					enqueue(t, slots, made)
				case 2:
					if ended, ok := take(&model.held, random); ok {
						release(t, slots, ended.ID, true)
					}
				case 3:
					if cancelled, ok := take(&model.waiting, random); ok && random.IntN(3) == 0 {
						if removed, err := slots.Remove(t.Context(), cancelled.ID); err != nil || !removed {
							t.Fatalf("Remove(%s) = %v, %v", cancelled.ID, removed, err)
						}
					} else if ok {
						model.waiting = append(model.waiting, cancelled)
					}
				case 4:
					most := random.IntN(5)
					want := model.admit(most)
					if got, err := slots.Admit(t.Context(), most); err != nil || !slices.Equal(got, want) {
						t.Fatalf("step %d: Admit(%d) = %v, %v; want %v", number, most, got, err, want)
					}
				}
			}
			wantCount(t, slots, len(model.held), len(model.waiting))
		})
	}
}

// truth stands for the database: what every process may rely on.
type truth struct {
	sync.Mutex
	clock   *clock
	config  SlotsConfig
	queued  map[string]Task
	claimed map[string]Lease // taking a slot, or running
	running map[string]Lease
	done    int
}

func (tr *truth) load(context.Context) (State, error) {
	tr.Lock()
	defer tr.Unlock()
	var state State
	for _, lease := range tr.claimed {
		state.Held = append(state.Held, lease)
	}
	for _, task := range tr.queued {
		state.Waiting = append(state.Waiting, task)
	}
	return state, nil
}

// claim marks an admitted task as taking a slot, unless another process was first.
func (tr *truth) claim(id string) (Lease, bool) {
	tr.Lock()
	defer tr.Unlock()
	task, queued := tr.queued[id]
	if !queued {
		return Lease{}, false
	}
	delete(tr.queued, id)
	lease := Lease{Task: task, Until: tr.clock.in(10 * time.Second)}
	tr.claimed[id] = lease
	return lease, true
}

func (tr *truth) giveBack(lease Lease) {
	tr.Lock()
	defer tr.Unlock()
	delete(tr.claimed, lease.ID)
	tr.queued[lease.ID] = lease.Task
}

// start runs a task and says which cap that exceeds. What runs past the end of its lease has been stopped.
func (tr *truth) start(lease Lease) string {
	tr.Lock()
	defer tr.Unlock()
	tr.running[lease.ID] = lease
	var running []Task
	for _, lease := range tr.running {
		if lease.Until.After(tr.clock.now()) {
			running = append(running, lease.Task)
		}
	}
	return exceeded(running, tr.config)
}

func (tr *truth) end(id string) {
	tr.Lock()
	defer tr.Unlock()
	delete(tr.running, id)
	delete(tr.claimed, id)
	tr.done++
}

func (tr *truth) left() (queued []Task, done int) {
	tr.Lock()
	defer tr.Unlock()
	for _, task := range tr.queued {
		queued = append(queued, task)
	}
	return queued, tr.done
}

// retrying repeats a call until Redis is built, as a redelivered event does.
func (tr *truth) retrying(t *testing.T, slots *Slots, call func() error) error {
	for {
		err := call()
		if !errors.Is(err, ErrRebuild) {
			return err
		}
		if _, err := slots.Rebuild(t.Context(), tr.load); err != nil && !errors.Is(err, ErrRebuild) {
			return err
		}
	}
}

// process is one of several that launch tasks and see them end.
type process struct {
	*truth
	slots  *Slots
	random *rand.Rand
	here   []string
}

// launch runs one admitted task by the protocol of the package's doc.
func (p *process) launch(t *testing.T, id string) error {
	lease, ok := p.claim(id)
	if !ok {
		return nil
	}
	err := p.slots.Extend(t.Context(), id, lease.Until)
	if errors.Is(err, ErrNotHeld) || errors.Is(err, ErrRebuild) {
		p.giveBack(lease)
		return nil
	}
	if err != nil {
		return err
	}
	p.here = append(p.here, id)
	if problem := p.start(lease); problem != "" {
		return errors.New(problem)
	}
	return nil
}

// endSome ends all but keep of the tasks that run here. One in ten is never released: its lease has to run out.
func (p *process) endSome(t *testing.T, keep int) error {
	for len(p.here) > keep {
		id := p.here[0]
		p.here = p.here[1:]
		p.end(id)
		if p.random.IntN(10) == 0 {
			p.clock.advance(3 * time.Second)
			continue
		}
		err := p.retrying(t, p.slots, func() error { _, err := p.slots.Release(t.Context(), id); return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// step lets tasks wait, launches what is admitted and ends some of what runs.
func (p *process) step(t *testing.T, keep int, tasks ...Task) error {
	var ids []string
	err := p.retrying(t, p.slots, func() (err error) {
		if err = p.slots.Enqueue(t.Context(), tasks...); err == nil {
			ids, err = p.slots.Admit(t.Context(), 2)
		}
		return err
	})
	for _, id := range ids {
		err = errors.Join(err, p.launch(t, id))
	}
	return errors.Join(err, p.endSome(t, keep))
}

// Many processes at once, leases that run out and wipes in mid-run: no cap is ever exceeded and no task is lost.
func TestNoCapIsExceededUnderConcurrencyAndWipes(t *testing.T) {
	t.Parallel()
	const processes, each = 6, 60
	config := SlotsConfig{Global: 4, PerNamespace: 2, PerCaller: 2, LookAhead: 100, LaunchLease: 2 * time.Second}
	slots, clock := newSlots(t, config)
	truth := &truth{
		clock: clock, config: config,
		queued: map[string]Task{}, claimed: map[string]Lease{}, running: map[string]Lease{},
	}
	var group sync.WaitGroup
	for number := range processes {
		group.Go(func() {
			p := &process{truth: truth, slots: slots, random: rand.New(rand.NewPCG(uint64(number), 2))}
			for i := range each {
				made := randomTask(number*each+i, p.random)
				truth.giveBack(Lease{Task: made})
				if p.random.IntN(15) == 0 {
					wipe(t, slots)
				}
				if err := p.step(t, p.random.IntN(3), made); err != nil {
					t.Error(err)
					return
				}
			}
			if err := p.endSome(t, 0); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	drain(t, &process{truth: truth, slots: slots, random: rand.New(rand.NewPCG(9, 9))})
	if _, done := truth.left(); done != processes*each {
		t.Errorf("%d of %d tasks ran", done, processes*each)
	}
	clock.advance(time.Hour)
	wantCount(t, slots, 0, 0)
	wantEmpty(t, slots)
}

// drain runs what is left, as the sweeper does: whatever is queued in the database is let wait again.
func drain(t *testing.T, p *process) {
	t.Helper()
	for range 1000 {
		queued, _ := p.left()
		if len(queued) == 0 || t.Failed() {
			return
		}
		p.clock.advance(20 * time.Second)
		if err := p.step(t, 0, queued...); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("tasks are left over for ever")
}
