package finalize

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/tasktest"
)

// admitting is a sink that admits what waits as soon as it hears of an event,
// as launch does.
type admitting struct {
	slots    *limiter.Slots
	admitted []string
}

func (a *admitting) Send(ctx context.Context, e event.Event) error {
	ids, err := a.slots.Admit(ctx, 8)
	a.admitted = append(a.admitted, fmt.Sprint(e.Type(), " ", ids))
	return err
}

func TestSlotIsFreeWhenTheEventComes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attempts int
		event    string
	}{
		"finished": {1, event.TypeTaskFinished},
		"requeued": {2, event.TypeTaskRequeued},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: c.attempts})
			next := limiter.AttemptID(uuid.Must(uuid.NewV7()).String(), 1)
			sink := &admitting{slots: f.hold(t, limiter.AttemptID(task.ID.String(), 1), next)}
			f.slots, f.outbox = sink.slots, outbox.New(f.pool, sink, slog.Default())
			if err := f.Finalize(t.Context(), observe(task, kube.PhaseFailed)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{fmt.Sprint(c.event, " ", []string{next})}, sink.admitted); diff != "" {
				t.Errorf("the one that waits was not admitted: %s", diff)
			}
		})
	}
}

// hold gives the only slot to one attempt and lets another wait for it.
func (f *fixture) hold(t *testing.T, held, waiting string) *limiter.Slots {
	t.Helper()
	slots := f.limited(1)
	task := func(id string) limiter.Task { return limiter.Task{ID: id, Caller: "test", CreatedAt: time.Now()} }
	_, err := slots.Rebuild(t.Context(), func(context.Context) (limiter.State, error) {
		return limiter.State{
			Held:    []limiter.Lease{{Task: task(held), Until: time.Now().Add(time.Hour)}},
			Waiting: []limiter.Task{task(waiting)},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slots
}
