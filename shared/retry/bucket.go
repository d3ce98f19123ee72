package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxIDBytes     = 512
	maxReasonBytes = 2048
	// maxItems bounds one script's work.
	maxItems = 1000
)

// Item is something that is to be tried again.
type Item struct {
	ID string
	// Failures is how often it has failed; 0 after [Bucket.Requeue].
	Failures int
	// Reason says why it failed last.
	Reason string
	// Due is when it is to be tried, to the millisecond.
	Due time.Time
}

// DeadItem is something that is not tried again by itself.
type DeadItem struct {
	ID       string
	Failures int
	Reason   string
	Died     time.Time
}

// Options of a bucket, all of which may be left out.
type Options struct {
	// Prefix goes before every key. Tests use it to stay apart.
	Prefix string
	// Clock replaces Redis's clock in tests. Leave it nil otherwise: Redis's clock is the one that all processes share.
	Clock func() time.Time
	// Random returns numbers in [0, 1) for the jitter.
	Random func() float64
}

// Bucket is a named set of items to be tried again. Every method is one atomic script and may be repeated.
type Bucket struct {
	redis   redis.Scripter
	config  Config
	options Options
	keys    []string
}

// NewBucket makes a bucket. It does no I/O. Buckets of the same name and prefix are one.
func NewBucket(client redis.Scripter, name string, config Config, options Options) (*Bucket, error) {
	if name == "" {
		return nil, errors.New("retry: a bucket needs a name")
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if options.Random == nil {
		options.Random = rand.Float64
	}
	// The hash tag keeps a bucket's keys in one slot of a Redis Cluster.
	key := options.Prefix + "{graf}:retry:" + name + ":"
	return &Bucket{
		redis: client, config: config, options: options, keys: []string{key + "due", key + "dead", key + "records"},
	}, nil
}

// Schedule notes an item's failure, the number failures (1 for the first), and says when it is due again, or that it
// is dead. A failure that was noted before, or an older one, changes nothing and gets the same answer.
func (b *Bucket) Schedule(ctx context.Context, id string, failures int, reason string) (due time.Time, dead bool, err error) {
	record, err := record(Item{ID: id, Failures: failures, Reason: reason})
	if err != nil {
		return time.Time{}, false, err
	}
	if failures < 1 {
		return time.Time{}, false, fmt.Errorf("retry: %s has failed %d times: schedule after the first failure", id, failures)
	}
	_, reason, _ = strings.Cut(record, " ")
	delay := Backoff(failures, b.config, b.options.Random)
	reply, err := b.run(ctx, scheduleScript, id, failures, b.config.MaxAttempts, delay.Milliseconds(), reason,
		b.config.DeadLimit).Int64Slice()
	if err != nil {
		return time.Time{}, false, fmt.Errorf("retry: schedule %s: %w", id, err)
	}
	return time.UnixMilli(reply[0]).UTC(), reply[1] == 1, nil
}

// Due hands out up to most items that are due, the longest due first, and hides them for the configured visibility.
// Whoever gets an item ends with Done or Schedule; after a crash the item is due again.
func (b *Bucket) Due(ctx context.Context, most int) ([]Item, error) {
	reply, err := b.run(ctx, dueScript, min(max(most, 0), maxItems), b.config.Visibility.Milliseconds()).Slice()
	if err != nil {
		return nil, fmt.Errorf("retry: find what is due: %w", err)
	}
	return items(reply)
}

// Done forgets an item, due or dead, and says whether it was known.
func (b *Bucket) Done(ctx context.Context, id string) (bool, error) {
	return b.flag(ctx, "forget", doneScript, id)
}

// Dead lists up to most dead items, the latest first.
func (b *Bucket) Dead(ctx context.Context, most int) ([]DeadItem, error) {
	reply, err := b.run(ctx, deadScript, min(max(most, 0), b.config.DeadLimit)).Slice()
	if err != nil {
		return nil, fmt.Errorf("retry: list the dead: %w", err)
	}
	listed, err := items(reply)
	if err != nil {
		return nil, err
	}
	dead := make([]DeadItem, 0, len(listed))
	for _, item := range listed {
		dead = append(dead, DeadItem{ID: item.ID, Failures: item.Failures, Reason: item.Reason, Died: item.Due})
	}
	return dead, nil
}

// Requeue makes a dead item due at once with all its attempts before it, and says whether it was dead.
func (b *Bucket) Requeue(ctx context.Context, id string) (bool, error) {
	return b.flag(ctx, "requeue", requeueScript, id)
}

// Restore puts back items, each due at its own time, and returns how many: after Redis was wiped, or because a dead item
// has new work. Items that are due are left as they are.
func (b *Bucket) Restore(ctx context.Context, restore ...Item) (int, error) {
	if len(restore) > maxItems {
		return 0, fmt.Errorf("retry: at most %d items can be restored at a time", maxItems)
	}
	args := make([]any, 0, 3*len(restore))
	for _, item := range restore {
		record, err := record(item)
		if err != nil {
			return 0, err
		}
		args = append(args, item.ID, item.Due.UnixMilli(), record)
	}
	restored, err := b.run(ctx, restoreScript, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("retry: restore: %w", err)
	}
	return restored, nil
}

func (b *Bucket) flag(ctx context.Context, verb string, script *redis.Script, id string) (bool, error) {
	changed, err := b.run(ctx, script, id).Bool()
	if err != nil {
		return false, fmt.Errorf("retry: %s %s: %w", verb, id, err)
	}
	return changed, nil
}

func (b *Bucket) run(ctx context.Context, script *redis.Script, args ...any) *redis.Cmd {
	var now int64
	if b.options.Clock != nil {
		now = b.options.Clock().UnixMilli()
	}
	return script.Run(ctx, b.redis, b.keys, append([]any{now}, args...)...)
}

// record is how an item is stored: the number of failures, a space, the reason cut to a bounded length.
func record(item Item) (string, error) {
	if item.ID == "" || len(item.ID) > maxIDBytes {
		return "", fmt.Errorf("retry: an id must have 1 to %d bytes, not %d", maxIDBytes, len(item.ID))
	}
	if item.Failures < 0 {
		return "", fmt.Errorf("retry: %s has failed %d times", item.ID, item.Failures)
	}
	reason := strings.ToValidUTF8(item.Reason[:min(len(item.Reason), maxReasonBytes)], "")
	return strconv.Itoa(item.Failures) + " " + reason, nil
}

// items reads the triples that dueScript and deadScript return.
func items(reply []any) ([]Item, error) {
	if len(reply)%3 != 0 {
		return nil, errors.New("retry: unexpected reply")
	}
	read := make([]Item, 0, len(reply)/3)
	for i := 0; i < len(reply); i += 3 {
		ms, isTime := reply[i+1].(int64)
		record, isText := reply[i+2].(string)
		number, reason, _ := strings.Cut(record, " ")
		failures, err := strconv.Atoi(number)
		if !isTime || !isText || err != nil {
			return nil, fmt.Errorf("retry: %v has a malformed record", reply[i])
		}
		read = append(read, Item{ID: fmt.Sprint(reply[i]), Failures: failures, Reason: reason, Due: time.UnixMilli(ms).UTC()})
	}
	return read, nil
}
