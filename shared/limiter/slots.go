package limiter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrRebuild says that Redis has lost the slots. Nothing was done. Call [Slots.Rebuild], then try again.
	ErrRebuild = errors.New("slots are to be rebuilt from the database")
	// ErrNotHeld says that a task holds no slot: it was released, its lease ran out or it was never admitted.
	ErrNotHeld = errors.New("the task holds no slot")
)

// SlotsConfig says how many tasks may run at a time. A cap of 0 means no limit.
type SlotsConfig struct {
	Global       int `env:"GRAF_SLOTS_GLOBAL" envDefault:"50"`
	PerNamespace int `env:"GRAF_SLOTS_PER_NAMESPACE" envDefault:"20"`
	PerCaller    int `env:"GRAF_SLOTS_PER_CALLER" envDefault:"25"`
	// LaunchLease is how long an admitted task keeps its slot before [Slots.Extend] is called.
	LaunchLease time.Duration `env:"GRAF_SLOTS_LAUNCH_LEASE" envDefault:"60s"`
	// LookAhead is how many groups of waiting tasks (same caller, same namespaces) that do not fit are passed over.
	LookAhead int `env:"GRAF_SLOTS_LOOK_AHEAD" envDefault:"200"`
	// Prefix goes before every key. Tests use it to stay apart.
	Prefix string `env:"GRAF_REDIS_PREFIX"`
	// Clock replaces Redis's clock in tests. Leave it nil otherwise: Redis's clock is the one that all processes share.
	Clock func() time.Time `env:"-"`
}

// Validate tells what is wrong with the configuration, or nil.
func (c SlotsConfig) Validate() error {
	if c.Global < 0 || c.PerNamespace < 0 || c.PerCaller < 0 {
		return errors.New("GRAF_SLOTS_GLOBAL, GRAF_SLOTS_PER_NAMESPACE and GRAF_SLOTS_PER_CALLER must be 0 (no limit) or more")
	}
	if c.LaunchLease < time.Millisecond || c.LaunchLease > time.Hour {
		return fmt.Errorf("GRAF_SLOTS_LAUNCH_LEASE is %v: give 1ms to 1h, such as 60s", c.LaunchLease)
	}
	if c.LookAhead < 0 || c.LookAhead > 10_000 {
		return fmt.Errorf("GRAF_SLOTS_LOOK_AHEAD is %d: give 0 to 10000", c.LookAhead)
	}
	return nil
}

// Slots holds the concurrency caps and the waiting order. Every method is one atomic script and may be repeated.
// All methods but Rebuild fail with [ErrRebuild] when Redis has lost its contents.
type Slots struct {
	redis  redis.Scripter
	config SlotsConfig
	keys   []string
}

// NewSlots makes the limiter. It does no I/O.
func NewSlots(client redis.Scripter, config SlotsConfig) (*Slots, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Slots{redis: client, config: config}
	for _, name := range []string{"generation", "tasks", "waiting", "groups", "leases", "usage", "lock"} {
		s.keys = append(s.keys, config.Prefix+hashTag+"slots:"+name)
	}
	return s, nil
}

// Enqueue lets tasks wait for a slot. Those that wait or hold one already are left as they are.
func (s *Slots) Enqueue(ctx context.Context, tasks ...Task) error {
	_, err := s.admit(ctx, 0, tasks)
	return err
}

// Admit gives slots to up to most waiting tasks that fit all caps, by priority, then age, and returns their ids. Each
// gets a lease for launching: see the package's doc for what must follow.
func (s *Slots) Admit(ctx context.Context, most int) ([]string, error) {
	return s.admit(ctx, most, nil)
}

// EnqueueAndAdmit is Enqueue and Admit in one round trip. The admitted tasks need not be the one just enqueued.
func (s *Slots) EnqueueAndAdmit(ctx context.Context, task Task, most int) ([]string, error) {
	return s.admit(ctx, most, []Task{task})
}

// enqueueMost bounds one script's work.
const enqueueMost = 1000

func (s *Slots) admit(ctx context.Context, most int, tasks []Task) ([]string, error) {
	if most < 0 || most > enqueueMost || len(tasks) > enqueueMost {
		return nil, fmt.Errorf("at most %d tasks can be admitted or enqueued at a time", enqueueMost)
	}
	args := []any{most, s.config.LaunchLease.Milliseconds(),
		s.config.Global, s.config.PerNamespace, s.config.PerCaller, s.config.LookAhead}
	for _, task := range tasks {
		if err := task.validate(); err != nil {
			return nil, err
		}
		args = append(args, task.ID, task.order(), task.group())
	}
	ids, err := s.run(ctx, admitScript, args...).StringSlice()
	if err != nil {
		return nil, slotsError("admit", err)
	}
	return ids, nil
}

// Extend keeps a slot until the given time; a lease is never shortened. [ErrNotHeld] means that the slot is gone and
// the task must not run.
func (s *Slots) Extend(ctx context.Context, id string, until time.Time) error {
	held, err := s.run(ctx, extendScript, id, until.UnixMilli()).Bool()
	if err != nil {
		return slotsError("extend", err)
	}
	if !held {
		return fmt.Errorf("extend the slot of %s: %w", id, ErrNotHeld)
	}
	return nil
}

// Release frees a slot and says whether there was one to free. A task that waits goes on waiting.
func (s *Slots) Release(ctx context.Context, id string) (bool, error) {
	freed, err := s.run(ctx, releaseScript, id).Bool()
	return freed, slotsError("release", err)
}

// Remove takes a task off the waiting order and says whether it waited. A slot that it holds is kept.
func (s *Slots) Remove(ctx context.Context, id string) (bool, error) {
	removed, err := s.run(ctx, removeScript, id).Bool()
	return removed, slotsError("remove", err)
}

// Count returns how many tasks hold a slot and how many wait.
func (s *Slots) Count(ctx context.Context) (held, waiting int, err error) {
	counts, err := s.run(ctx, countScript).Int64Slice()
	if err != nil {
		return 0, 0, slotsError("count", err)
	}
	return int(counts[0]), int(counts[1]), nil
}

// Held lists who holds a slot, by the end of its lease; for a sweeper that compares it with the database.
func (s *Slots) Held(ctx context.Context) ([]string, error) {
	ids, err := s.run(ctx, heldScript).StringSlice()
	return ids, slotsError("list who holds one", err)
}

func (s *Slots) run(ctx context.Context, script *redis.Script, args ...any) *redis.Cmd {
	return script.Run(ctx, s.redis, s.keys, append([]any{micros(s.config.Clock) / 1000}, args...)...)
}

func slotsError(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "REBUILD"):
		return fmt.Errorf("slots: %s: %w", op, ErrRebuild)
	default:
		return fmt.Errorf("slots: %s: %w", op, err)
	}
}
