# Each thread is a clone of the whole interpreter; results come back through a queue.
use strict;
use warnings;
use threads;
use Thread::Queue;
use Digest::SHA qw(sha256_hex);

my %shared_by_copy = map { $_ => 'v' x ($_ % 100) } 1 .. 5000;
for my $round (1 .. 3) {
    my ($work, $done) = (Thread::Queue->new, Thread::Queue->new);
    my @threads = map {
        threads->create(sub {
            while (defined(my $item = $work->dequeue)) {
                my @list = map { $shared_by_copy{ 1 + $_ % 5000 } } 1 .. $item;
                $done->enqueue("$item " . sha256_hex(join ',', @list));
            }
            return scalar keys %shared_by_copy;
        })
    } 1 .. 4;
    $work->enqueue($_ * 97) for 1 .. 100;
    $work->end;
    print join(' ', map { $_->join } @threads), "\n";
    $done->end;
    my @results;
    while (defined(my $result = $done->dequeue_nb)) { push @results, $result }
    print sha256_hex(join "\n", sort @results), ' ', scalar @results, "\n";
}
