package live

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// Whatever comes, moves to another ApplySet and goes, each has its own members,
// and nothing is kept of one that has none.
func TestMembersAreThoseOfTheApplySet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	v := newView(Scope{}, func(string) {}, func() {})
	object := func() *metav1.PartialObjectMetadata {
		o := &metav1.PartialObjectMetadata{}
		o.Name = fmt.Sprint(random.IntN(20))
		o.Labels = map[string]string{v1alpha1.ApplySetPartOfLabel: fmt.Sprint(random.IntN(4))}
		return o
	}
	for range 2000 {
		var err error
		switch random.IntN(40) {
		case 0:
			err = v.Replace([]any{object(), object()}, "1")
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12:
			err = v.Delete(object())
		default:
			err = v.Update(object())
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]map[Key]Object{}
		for key, o := range v.objects.all {
			if want[o.ApplySet] == nil {
				want[o.ApplySet] = map[Key]Object{}
			}
			want[o.ApplySet][key] = o
		}
		got := map[string]map[Key]Object{}
		for set := range v.objects.of {
			got[set] = v.members(set)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Object{})); diff != "" {
			t.Fatalf("members by ApplySet (-want +got):\n%s", diff)
		}
		if n := len(v.members("another")); n != 0 {
			t.Fatalf("%d members of another, want none", n)
		}
	}
}
