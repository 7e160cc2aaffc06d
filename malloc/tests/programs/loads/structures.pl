# Hashes, arrays, strings and objects that come and go; serialised and read again.
use strict;
use warnings;
use Data::Dumper;
use Digest::SHA qw(sha256_hex);
use Encode;
use JSON::PP;
use List::Util qw(shuffle sum reduce);
use Storable qw(freeze thaw dclone);

$Data::Dumper::Sortkeys = 1;
$Data::Dumper::Indent   = 1;
my $seed = 42;
sub random { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed % $_[0] }

my %index;
for my $i (1 .. 200_000) {
    my $key = 'k' . random(50_000);
    if (random(3) == 0) { delete $index{$key} }
    else { push @{ $index{$key} }, { id => $i, text => 'x' x random(200) } }
}
my $size = sum map { scalar @$_ } values %index;
print "$size ", scalar keys %index, "\n";

my %part = map { $_ => $index{$_} } (sort keys %index)[0 .. 3000];
my $copy = dclone(\%part);
print sha256_hex(Dumper($copy)), "\n";
print sha256_hex(Dumper(thaw(freeze(\%part)))), "\n";
my $json = JSON::PP->new->canonical;
my $text = $json->encode({ map { $_ => $part{$_} } (sort keys %part)[0 .. 500] });
print length $text, ' ', sha256_hex($json->encode($json->decode($text))), "\n";

my $string = join ',', map { random(1_000_000) } 1 .. 200_000;
my @sorted = sort { $a <=> $b } split /,/, $string;
print "$sorted[0] $sorted[-1] ", sha256_hex("@sorted"), "\n";
$string =~ s/(\d)(\d)/$2$1/g;
print sha256_hex($string), "\n";
print sha256_hex(encode('UTF-16', decode('UTF-8', encode('UTF-8', join '', map { chr(0x100 + random(5000)) } 1 .. 100_000)))), "\n";

for my $i (1 .. 20) {
    my $pid = open(my $child, '-|') // die "fork: $!";
    if (!$pid) {
        my @list = map { 'y' x random(1000) } 1 .. 5000;
        print sha256_hex(join '', @list), "\n";
        exit 0;
    }
    print <$child>;
    close $child or die "child: $?";
}
sub Node::DESTROY { $main::destroyed++ }
our $destroyed = 0;
{
    my $list;
    $list = bless { next => $list }, 'Node' for 1 .. 50_000;
    while ($list) { $list = delete $list->{next} }
}
print "$destroyed destroyed\n";
