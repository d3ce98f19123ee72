package callback_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/functions/callback"
	"github.com/graf-run/graf/shared/problem"
)

// What a task waits for is bounded, and more is refused before it is done.
func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	turns, id := callback.NewTurns(1), uuid.New()
	var leaves []func()
	for {
		leave, err := turns.Wait(id)
		if err != nil {
			if !errors.Is(err, problem.ErrRateLimited) {
				t.Fatal(err)
			}
			break
		}
		leaves = append(leaves, leave)
	}
	if len(leaves) != 4 {
		t.Errorf("%d wait, want 4", len(leaves))
	}
	other, err := turns.Wait(uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	other()
	leaves[0]()
	leaves[0]() // which does nothing
	if _, err := turns.Wait(id); err != nil {
		t.Error(err)
	}
	if _, err := turns.Wait(id); err == nil {
		t.Error("to leave twice made room for two")
	}
}
