package kubernetes

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// transaction reads and writes objects in one atomic step.
type transaction struct {
	tx      *bbolt.Tx
	changes []change
}

// change is one write of one object.
type change struct {
	event   watch.EventType
	key     key
	version uint64
	object  object
	raw     []byte
}

func (t *transaction) bucket(r *resource) *bbolt.Bucket { return t.tx.Bucket([]byte(r.name)) }

func (t *transaction) get(k key, into object) error {
	raw := t.bucket(k.resource).Get(k.bytes())
	if raw == nil {
		return k.notFound()
	}
	return decode(raw, into)
}

func (t *transaction) exists(k key) bool { return t.bucket(k.resource).Get(k.bytes()) != nil }

// create writes a new object; a name that is taken is the API's AlreadyExists.
func (t *transaction) create(r *resource, o object) error {
	k := keyOf(r, o)
	if t.exists(k) {
		return apierrors.NewAlreadyExists(r.group(), k.name)
	}
	for _, owner := range o.GetOwnerReferences() {
		if err := t.tx.Bucket(bucketOwned).Put(ownedKey(string(owner.UID), k), nil); err != nil {
			return err
		}
	}
	return t.write(watch.Added, k, o)
}

func (t *transaction) put(r *resource, o object) error {
	return t.write(watch.Modified, keyOf(r, o), o)
}

func (t *transaction) write(event watch.EventType, k key, o object) error {
	version, raw, err := t.encode(k, o)
	if err != nil {
		return err
	}
	if err := t.bucket(k.resource).Put(k.bytes(), raw); err != nil {
		return err
	}
	t.changes = append(t.changes, change{event, k, version, o, raw})
	return nil
}

func (t *transaction) encode(k key, o object) (uint64, []byte, error) {
	version, err := t.tx.Bucket(bucketVersions).NextSequence()
	if err != nil {
		return 0, nil, err
	}
	o.SetResourceVersion(strconv.FormatUint(version, 10))
	k.resource.stamp(o)
	raw, err := json.Marshal(o)
	return version, raw, err
}

// remove deletes one object, and nothing that it owns. What is not there is no error.
func (t *transaction) remove(k key) error {
	o := k.resource.empty()
	if err := t.get(k, o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	version, raw, err := t.encode(k, o)
	if err != nil {
		return err
	}
	for _, owner := range o.GetOwnerReferences() {
		if err := t.tx.Bucket(bucketOwned).Delete(ownedKey(string(owner.UID), k)); err != nil {
			return err
		}
	}
	t.changes = append(t.changes, change{watch.Deleted, k, version, o, raw})
	return t.bucket(k.resource).Delete(k.bytes())
}

// expire notes when a finished Job's time to live ends.
func (t *transaction) expire(k key, uid string, at time.Time) error {
	id := binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano()))
	return t.tx.Bucket(bucketExpiry).Put(append(id, k.bytes()...), []byte(uid))
}

func ownedKey(uid string, k key) []byte {
	return []byte(uid + "/" + k.resource.name + "/" + string(k.bytes()))
}
