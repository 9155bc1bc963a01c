use admix_torch::{Device, Kind, Tensor};
use std::time::Instant;
fn time(name: &str, mut f: impl FnMut() -> Tensor) -> Tensor {
    for _ in 0..20 { f(); }
    let mut v: Vec<f64> = (0..200).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64() * 1e3 }).collect();
    v.sort_by(f64::total_cmp);
    println!("{name}: median {:.3} ms min {:.3}", v[100], v[0]);
    f()
}
fn main() {
    for (total, c, s, n) in [(50000i64, 3i64, 32i64, 100i64), (6000, 1, 28, 100), (1000, 3, 224, 32)] {
        println!("--- {c}x{s}x{s} batch {n}");
        let images = Tensor::randint(256, [total, c, s, s], (Kind::Uint8, Device::Cpu));
        let index = Tensor::randint(total, [n], (Kind::Int64, Device::Cpu));
        let dy = Tensor::randint(9, [n], (Kind::Int64, Device::Cpu));
        let dx = Tensor::randint(9, [n], (Kind::Int64, Device::Cpu));
        let flip = Tensor::randint(2, [n], (Kind::Int64, Device::Cpu));
        let refl: Vec<i64> = (0..s + 8).map(|p: i64| { let q = (p - 4).abs(); if q < s { q } else { 2 * (s - 1) - q } }).collect();
        let table = Tensor::from_slice(&refl);
        let base = table.unfold(0, s, 1).contiguous();
        let cols = Tensor::cat(&[&base, &base.flip([1])], 0);
        let four = time("a four indices", || {
            let r = base.index_select(0, &dy);
            let cc = cols.index_select(0, &(&dx + &flip * 9));
            let ch = Tensor::arange(c, (Kind::Int64, Device::Cpu));
            images.index(&[Some(index.view([n, 1, 1, 1])), Some(ch.view([1, c, 1, 1])), Some(r.view([n, 1, s, 1])), Some(cc.view([n, 1, 1, s]))])
        });
        let take = time("b take", || {
            let r = base.index_select(0, &dy);
            let cc = cols.index_select(0, &(&dx + &flip * 9));
            let ch = Tensor::arange(c, (Kind::Int64, Device::Cpu));
            let o = (index.view([n, 1]) * c + ch.view([1, c])) * (s * s);
            let o = o.view([n, c, 1, 1]) + (r.view([n, 1, s, 1]) * s + cc.view([n, 1, 1, s]));
            images.take(&o)
        });
        let rows = time("c rows then gather", || {
            let r = base.index_select(0, &dy);
            let cc = cols.index_select(0, &(&dx + &flip * 9));
            let ch = Tensor::arange(c, (Kind::Int64, Device::Cpu));
            let o = (index.view([n, 1]) * c + ch.view([1, c])) * s;
            let o = (o.view([n, c, 1]) + r.view([n, 1, s])).view([-1]);
            let x = images.view([-1, s]).index_select(0, &o).view([n, c, s, s]);
            x.gather(3, &cc.view([n, 1, 1, s]).expand([n, c, s, s], false), false)
        });
        let win = time("d windows", || {
            let x = images.index_select(0, &index).index_select(2, &table).index_select(3, &table);
            let w = x.unfold(2, s, 1).unfold(3, s, 1).permute([0, 2, 3, 1, 4, 5]);
            let ar = Tensor::arange(n, (Kind::Int64, Device::Cpu));
            let x = w.index(&[Some(ar), Some(dy.shallow_clone()), Some(dx.shallow_clone())]);
            x.flip([3]).where_self(&flip.view([n, 1, 1, 1]).eq(1), &x)
        });
        println!("dtype {:?}", four.kind());
        for o in [&take, &rows] { println!("{}", four.eq_tensor(o).all().int64_value(&[])); }
        let _ = win;
        let scale = Tensor::ones([1, c, 1, 1], (Kind::Float, Device::Cpu));
        let shift = Tensor::ones([1, c, 1, 1], (Kind::Float, Device::Cpu));
        time("to f32 + addcmul", || shift.addcmul(&four.to_kind(Kind::Float), &scale));
        time("to f32 + mul_ add_", || { let mut x = four.to_kind(Kind::Float); let _ = x.g_mul_(&scale); x.g_add_(&shift) });
        time("u8 mul, add_", || { (&four * &scale).g_add_(&shift) });
    }
}
